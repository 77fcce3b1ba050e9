"""Where frames come from: video files, streams, image folders, cameras; one iterator of `Frame` for all."""

from edge_tracker.video.sources import Frame, Source, open_camera, open_source

__all__ = ["Frame", "Source", "open_camera", "open_source"]
