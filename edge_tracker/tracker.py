"""The public tracker of one target: checks what comes in, keeps one thread, and hands over to the method asked for."""

from __future__ import annotations

from collections.abc import Callable
from inspect import Parameter, Signature, signature
from typing import Any, Concatenate, NoReturn, ParamSpec

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edge_tracker.boxes import as_box
from edge_tracker.errors import UsageError
from edge_tracker.images import as_bgr, size_of
from edge_tracker.methods import Prepared, prepare
from edge_tracker.threads import one_thread
from edge_tracker.track import Track

P = ParamSpec("P")


def _signature_of(other: Callable[P, object]) -> Callable[[Callable[..., None]], Callable[Concatenate[Any, P], None]]:
    """A method that hands its arguments on says what they are: to type checkers, and to `help`."""

    def with_signature(method: Callable[..., None]) -> Callable[Concatenate[Any, P], None]:
        own = Parameter("self", Parameter.POSITIONAL_ONLY)
        taken = signature(other).parameters.values()
        method.__signature__ = Signature([own, *taken], return_annotation=None)  # type: ignore[attr-defined]
        return method

    return with_signature


class Tracker:
    """Tracks one object.

    tracker: the method, one of methods.TRACKERS: "accurate" and "fast", our closed-form tracker; "auto", the first of
        them that is fast enough on this machine (measured once, then remembered); "fmst" and "fmst-net", the first
        paper's, the latter with the weight-vector network; "fsnet", the second paper's.
    model: a name of the catalogue (`edge-track models list`), a path to a model file, or "auto", the first model
        of the catalogue that is present.
    engine: what runs the model, "auto" or one of `backbones.engines.ENGINES`.
    device: where the engine computes: "cpu", or "cuda" for ONNX Runtime, with FSNet all of it; without one, the CPU.
    threads: of the engine. BLAS and OpenCV use one thread while a tracker computes, so the boxes are the same.
    models_dir: where to look for models first.
    config: settings of the method: ClosedFormConfig, FmstConfig or FsnetConfig.
    settings: changes to them by name, "belief.lost_after=8".
    seed: of the method's random draws, in place of the configuration's.
    weight_network: of fmst-net, a file; by default the one that the catalogue has for the model.

    Raises ConfigError or ModelError. The same seed, model, engine, frames and processor (its BLAS kernel) give the same
    boxes, bit for bit. A tracker holds an engine's session: it cannot be pickled or copied.
    """

    @_signature_of(prepare)
    def __init__(self, *arguments: Any, **named: Any) -> None:
        self._start(prepare(*arguments, **named))

    @classmethod
    def on(cls, prepared: Prepared) -> Tracker:
        """Another target on a session and head that `methods.prepare` has loaded."""
        tracker = cls.__new__(cls)
        tracker._start(prepared)
        return tracker

    def _start(self, prepared: Prepared) -> None:
        self.name = prepared.name  # the method, what "auto" has chosen
        self.backbone = prepared.backbone
        self.files = prepared.files  # model, head: nothing may overwrite them
        self._method = prepared.new_target()
        self._frame_size: tuple[int, int] | None = None

    def init(self, image: NDArray[np.uint8], box: ArrayLike) -> None:
        """Start on a target. `image` uint8 (H, W, 3) BGR (grayscale and BGRA are converted), `box` x, y, w, h px.

        May be called again at any time, on the same or another target. Raises ImageError or BoxError, and then
        leaves the tracker as it was.
        """
        bgr = as_bgr(image)
        checked = as_box(box, size_of(bgr))
        with one_thread():
            self._method.init(bgr, checked)
        self._frame_size = size_of(bgr)

    def update(self, image: NDArray[np.uint8]) -> Track:
        """Find the target in the next image. Raises ImageError for what is no image, UsageError before init.

        A frame of another size than the last is taken as the same view at another resolution: the box is scaled.
        """
        if self._frame_size is None:
            raise UsageError("update() before init(): the tracker has no target yet")
        bgr = as_bgr(image)
        size = size_of(bgr)
        if size != self._frame_size:
            old, self._frame_size = self._frame_size, size
            self._method.rescale(size[0] / old[0], size[1] / old[1], size)
        with one_thread():
            return self._method.update(bgr)

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Tracker holds an engine's session and cannot be pickled: make it in the worker process")

    def __copy__(self) -> NoReturn:
        self.__deepcopy__(None)

    def __deepcopy__(self, memo: object) -> NoReturn:
        raise TypeError("a Tracker cannot be copied: make another, or several targets with methods.prepare()")
