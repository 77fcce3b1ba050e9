"""Converters: from trained torch trunks to the model files that small machines run."""
