"""Where frames come from: video files, streams, image folders, cameras; one iterator of `Frame` for all."""

from edge_tracker.video.open import open_source
from edge_tracker.video.source import Frame, Source

__all__ = ["Frame", "Source", "open_source"]
