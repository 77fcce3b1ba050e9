"""Calibration: crops of real footage, as the tracker sees them, that show a converter what activations to expect."""
