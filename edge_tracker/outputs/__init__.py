"""Where tracks go: annotated video, JSON lines, CSV. Each output is written under a partial name until whole."""

from edge_tracker.outputs.base import Output
from edge_tracker.outputs.records import CsvOutput, JsonLinesOutput
from edge_tracker.outputs.video import VideoOutput

__all__ = ["CsvOutput", "JsonLinesOutput", "Output", "VideoOutput"]
