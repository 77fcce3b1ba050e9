"""Evaluation: sequences in OTB's layout, one-pass evaluation, metrics, plots."""
