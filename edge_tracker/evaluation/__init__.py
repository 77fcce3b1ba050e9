"""Evaluation: sequences in OTB's layout, protocols, metrics, plots, and other trackers to compare with."""
