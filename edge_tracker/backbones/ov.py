"""OpenVINO, imported in the one way in which it stays quiet. Everything here imports it, and NNCF, behind this module.

Its tools and NNCF send usage statistics by the package openvino_telemetry, from the import on and without being asked,
and keep an id in the user's home. They do without where that package cannot be imported, which is arranged here;
NNCF_CI alone stops neither the files nor the first look-up.
"""

from __future__ import annotations

import sys

sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]

import openvino  # noqa: E402

__all__ = ["openvino"]
