"""ONNX Runtime, imported in the one way in which it stays quiet. Everything here imports it from this module.

From 1.29 on it sends telemetry over the network and keeps a device id in the user's home. The variable stops both, if
it is set before the first import; the runtime's own `disable_telemetry_events` comes too late.
"""

from __future__ import annotations

import os

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import onnxruntime

__all__ = ["onnxruntime", "quiet_settings"]


def quiet_settings(threads: int = 1) -> onnxruntime.SessionOptions:
    """Of a session with so many threads that says nothing but errors."""
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads, settings.inter_op_num_threads = threads, 1
    settings.log_severity_level = 3
    return settings
