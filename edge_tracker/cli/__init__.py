"""The command `edge-track`. The only room that prints, exits, or reads the command line."""

from edge_tracker.cli.main import main

__all__ = ["main"]
