"""The page: the live picture, and choosing targets on it."""

from edge_tracker.outputs.web.page import CameraPage, Desk, Page

__all__ = ["CameraPage", "Desk", "Page"]
