"""Which device ONNX Runtime computes on, and sessions whose inputs and outputs stay there."""

from __future__ import annotations

import functools
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_tracker.backbones.ort import onnxruntime, quiet_settings
from edge_tracker.errors import ModelError, first_line

CUDA, CPU = "CUDAExecutionProvider", "CPUExecutionProvider"

log = logging.getLogger(__name__)


def providers(device: str) -> list[Any]:
    """ONNX Runtime's providers for a device, the first one first."""
    # TF32 rounds to 10 bits, unasked.
    return [(CUDA, {"use_tf32": "0"}), CPU] if device == "cuda" else [CPU]


@functools.cache
def why_no_cuda() -> str:
    """Why nothing can run on a CUDA device, in one line; empty where it can."""
    if CUDA not in onnxruntime.get_available_providers():
        return f"onnxruntime {onnxruntime.__version__} has no {CUDA}: install onnxruntime-gpu in place of onnxruntime"
    try:
        if hasattr(onnxruntime, "preload_dlls"):  # finds CUDA's libraries where pip has put them
            onnxruntime.preload_dlls()
        put(np.zeros(1, np.float32), "cuda")
    except Exception as error:  # the runtime's own exceptions have no common base
        needs = "it needs an NVIDIA driver, CUDA 13 and cuDNN 9 (pip install 'onnxruntime-gpu[cuda,cudnn]')"
        return f"{CUDA} does not start: {needs}: {first_line(error)}"
    return ""


def usable(device: str) -> str:
    """The device that is there: `device`, or "cpu" in place of a "cuda" that is not, which is logged in one line."""
    if device == "cuda" and (reason := why_no_cuda()):
        log.warning("running on the processor: %s", reason)
        return "cpu"
    return device


class Bound:
    """A session whose values stay on its device. Arrays given are copied there; `fetch` copies back."""

    def __init__(self, session: Any, device: str, run_options: Any = None) -> None:
        self._session, self._device, self._run_options = session, device, run_options
        self._outputs = [output.name for output in session.get_outputs()]

    @classmethod
    def load(cls, path: Path, device: str, threads: int = 1) -> Bound:
        """Raises ModelError where the graph cannot be loaded."""
        try:
            session = onnxruntime.InferenceSession(str(path), quiet_settings(threads), providers=providers(device))
        except Exception as error:
            raise ModelError(f"ONNX Runtime cannot load {path}: {first_line(error)}") from error
        return cls(session, device)

    def __call__(self, inputs: Mapping[str, Any], outputs: Sequence[str] | None = None) -> dict[str, Any]:
        """inputs: arrays or values of this device, by name -> values of this device, by name."""
        wanted = self._outputs if outputs is None else outputs
        binding = self._session.io_binding()
        for name, value in inputs.items():
            held = value if isinstance(value, onnxruntime.OrtValue) else put(value, self._device)
            binding.bind_ortvalue_input(name, held)
        for name in wanted:
            binding.bind_output(name, self._device, 0)
        self._session.run_with_iobinding(binding, self._run_options)
        return dict(zip(wanted, binding.get_outputs(), strict=True))


def put(array: NDArray[Any] | np.floating[Any], device: str) -> Any:
    """An array as a value of the device; on the CPU, one of its own."""
    return onnxruntime.OrtValue.ortvalue_from_numpy(np.asarray(array, order="C"), device, 0)


def fetch(value: Any) -> NDArray[Any]:
    """A device's value as an array."""
    found: NDArray[Any] = value.numpy()
    return found
