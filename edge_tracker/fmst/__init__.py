"""FMST, the first paper, a module per step: arrays in, arrays out. NumPy, but for the crop."""
