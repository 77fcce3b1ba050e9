"""The version of this package, for all that must not load the rest of it."""

__version__ = "0.1.0"
