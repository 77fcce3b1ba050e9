"""Where tracks go: files, folders of files, MQTT, Prometheus, webhooks, the page. A file has a partial name until it is
whole."""

from edge_tracker.outputs.base import Output
from edge_tracker.outputs.contact_sheet import ContactSheetOutput
from edge_tracker.outputs.open import open_output, open_outputs
from edge_tracker.outputs.records import CsvOutput, JsonLinesOutput, MotOutput
from edge_tracker.outputs.video import VideoOutput

__all__ = [
    "ContactSheetOutput",
    "CsvOutput",
    "JsonLinesOutput",
    "MotOutput",
    "Output",
    "VideoOutput",
    "open_output",
    "open_outputs",
]
