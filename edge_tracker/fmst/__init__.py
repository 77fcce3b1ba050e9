"""FMST, the tracker of the first paper, one module per step. Each step takes and returns NumPy arrays."""
