"""Evaluation: sequences with ground truth, protocols, metrics, plots, and other trackers to compare with."""
