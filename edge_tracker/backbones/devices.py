"""Which device ONNX Runtime computes on, and sessions whose inputs and outputs stay there."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from edge_tracker.errors import ModelError, first_line

DEVICES = ("cpu", "cuda")
CUDA = "CUDAExecutionProvider"
CPU = "CPUExecutionProvider"

log = logging.getLogger(__name__)


def why_no_cuda() -> str:
    """Why nothing can run on a CUDA device, in one line; empty where it can."""
    if CUDA not in onnxruntime.get_available_providers():
        return f"onnxruntime {onnxruntime.__version__} has no {CUDA}: install onnxruntime-gpu in place of onnxruntime"
    probe = _probe()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        _preload()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what it warns of is told below
            session = onnxruntime.InferenceSession(str(probe), options, providers=[CUDA, CPU])
    except Exception as error:  # the runtime's own exceptions have no common base
        return f"{CUDA} does not start: {first_line(error)}"
    if CUDA not in session.get_providers():
        return f"{CUDA} does not start: is there a driver, and are CUDA and cuDNN the versions that it wants?"
    return ""


def usable(device: str) -> str:
    """The device that is there: `device`, or "cpu" in place of a "cuda" that is not, which is logged in one line."""
    if device == "cuda" and (reason := why_no_cuda()):
        log.warning("no CUDA device, running on the CPU: %s", reason)
        return "cpu"
    return device


def _probe() -> Path:
    """A small graph that any session can be opened on."""
    return Path(__file__).resolve().parents[1] / "fsnet" / "graphs" / "look.onnx"


def _preload() -> None:
    """Find CUDA's libraries where pip has put them; ONNX Runtime before 1.21 cannot."""
    if hasattr(onnxruntime, "preload_dlls"):
        onnxruntime.preload_dlls()


class Bound:
    """A graph on one device. Arrays given are copied there; what it gives stays there until `fetch`."""

    def __init__(self, path: Path, device: str, threads: int = 1) -> None:
        """Raises ModelError where the graph cannot be loaded."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.log_severity_level = 3
        providers = [CUDA, CPU] if device == "cuda" else [CPU]
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=providers)
        except Exception as error:
            raise ModelError(f"ONNX Runtime cannot load {path}: {first_line(error)}") from error
        self._device = device
        self._outputs = [output.name for output in self._session.get_outputs()]

    def __call__(self, inputs: Mapping[str, Any], outputs: Sequence[str] | None = None) -> dict[str, Any]:
        """inputs: arrays or values of this device, by name -> values of this device, by name."""
        wanted = self._outputs if outputs is None else outputs
        binding = self._session.io_binding()
        for name, value in inputs.items():
            held = value if isinstance(value, onnxruntime.OrtValue) else put(value, self._device)
            binding.bind_ortvalue_input(name, held)
        for name in wanted:
            binding.bind_output(name, self._device, 0)
        self._session.run_with_iobinding(binding)
        return dict(zip(wanted, binding.get_outputs(), strict=True))


def put(array: NDArray[Any] | np.floating[Any], device: str) -> Any:
    """An array as a value of the device; on the CPU, one of its own."""
    return onnxruntime.OrtValue.ortvalue_from_numpy(np.asarray(array, order="C"), device, 0)


def fetch(value: Any) -> NDArray[Any]:
    """A device's value as an array."""
    found: NDArray[Any] = value.numpy()
    return found
