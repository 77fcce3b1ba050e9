"""The public tracker: checks what comes in, keeps one thread, and hands over to the method asked for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import threadpoolctl
from numpy.typing import ArrayLike, NDArray

from edge_tracker.backbones.base import PURPOSES, Backbone
from edge_tracker.backbones.catalogue import BASIS, WEIGHT_NETWORK, find_companion, find_model, load_backbone
from edge_tracker.backbones.weight_networks import load_weight_network
from edge_tracker.boxes import as_box
from edge_tracker.config import DcfConfig, FmstConfig
from edge_tracker.dcf.basis import Basis, load_basis
from edge_tracker.dcf.tracker import DcfTracker
from edge_tracker.errors import ConfigError, EdgeTrackerError
from edge_tracker.fmst.tracker import FmstTracker
from edge_tracker.images import as_bgr, size_of
from edge_tracker.presets import PRESETS, automatic
from edge_tracker.track import Track

TRACKERS = ("auto", *PRESETS, "fmst", "fmst-net")


class Tracker:
    """Tracks one object.

    tracker: the method, one of TRACKERS: "accurate" and "fast", our closed-form tracker; "auto", the first of them that
        is fast enough on this machine (measured once, then remembered); "fmst" and "fmst-net", the paper's, the latter
        with the weight-vector network.
    model: a name of the catalogue (`edge-track models list`), a path to a model file, or "auto", the first model
        of the catalogue that is present.
    engine: what runs the model, "auto" or one of `backbones.catalogue.ENGINES`.
    threads: of the engine and of BLAS, while this tracker computes.
    models_dir: where to look for models first.
    config: settings of the method: DcfConfig for the closed-form tracker, FmstConfig for the paper's.
    seed: of the method's random draws, in place of the configuration's.
    weight_network: of fmst-net, a file; by default the one that the catalogue has for the model.

    Raises ConfigError or ModelError. The same seed, model, engine and frames give the same boxes, bit for bit.
    """

    def __init__(
        self,
        tracker: str = "auto",
        model: str | Path = "auto",
        *,
        engine: str = "auto",
        threads: int = 1,
        models_dir: str | Path | None = None,
        config: DcfConfig | FmstConfig | None = None,
        seed: int | None = None,
        weight_network: str | Path | None = None,
    ) -> None:
        if tracker not in TRACKERS:
            raise ConfigError(f"tracker is one of {', '.join(TRACKERS)}, not {tracker!r}")
        if threads < 1:
            raise ConfigError(f"threads is at least 1, not {threads}")
        if weight_network is not None and tracker != "fmst-net":
            raise ConfigError(f"tracker {tracker} takes no weight network, fmst-net does")
        # Two BLAS threads on a busy core cost far more than they bring, and may round differently.
        self._blas = threadpoolctl.ThreadpoolController().select(user_api="blas")
        self._threads = threads
        self._frame_size: tuple[int, int] | None = None
        path = find_model(model, models_dir, engine)
        self._method: DcfTracker | FmstTracker
        if tracker.startswith("fmst"):
            if isinstance(config, DcfConfig):
                raise ConfigError(f"tracker {tracker} is set up by FmstConfig, not by DcfConfig")
            config = config or FmstConfig()
            backbone = load_backbone(path, engine, threads)
            network = None
            if tracker == "fmst-net":
                file = weight_network or find_companion(backbone.info.model, WEIGHT_NETWORK, models_dir)
                network = load_weight_network(Path(file), backbone.info)
            config = config if seed is None else replace(config, seed=seed)
            self._method = FmstTracker(backbone, config, network)
        else:
            if isinstance(config, FmstConfig):
                raise ConfigError(f"tracker {tracker} is set up by DcfConfig, not by FmstConfig")
            if tracker == "auto" and config is None:
                backbone = load_backbone(path, engine, threads, PURPOSES, PRESETS["accurate"].input_side)
                with self._blas.limit(limits=threads):
                    tracker = automatic(backbone, _basis(backbone, models_dir), engine, threads)
            config = config or PRESETS[tracker]
            config = config if seed is None else replace(config, seed=seed)
            purposes = PURPOSES if config.fine_weight else PURPOSES[:1]
            backbone = load_backbone(path, engine, threads, purposes, config.input_side)
            self._method = DcfTracker(backbone, _basis(backbone, models_dir), config)
        self.name = tracker  # the method, what "auto" has chosen
        self.backbone = backbone

    def init(self, image: NDArray[np.uint8], box: ArrayLike) -> None:
        """Start on a target. `image` uint8 (H, W, 3) BGR (grayscale and BGRA are converted), `box` x, y, w, h px.

        May be called again at any time, on the same or another target. Raises ImageError or BoxError, and then
        leaves the tracker as it was.
        """
        bgr = as_bgr(image)
        checked = as_box(box, size_of(bgr))
        with self._blas.limit(limits=self._threads):
            self._method.init(bgr, checked)
        self._frame_size = size_of(bgr)

    def update(self, image: NDArray[np.uint8]) -> Track:
        """Find the target in the next image. Raises ImageError for what is no image, EdgeTrackerError before init.

        A frame of another size than the last is taken as the same view at another resolution: the box is scaled.
        """
        if self._frame_size is None:
            raise EdgeTrackerError("update() before init(): the tracker has no target yet")
        bgr = as_bgr(image)
        size = size_of(bgr)
        if size != self._frame_size:
            self._rescale(self._frame_size, size)
        with self._blas.limit(limits=self._threads):
            return self._method.update(bgr)

    def _rescale(self, old: tuple[int, int], new: tuple[int, int]) -> None:
        self._method.rescale(new[0] / old[0], new[1] / old[1], new)
        self._frame_size = new


def _basis(backbone: Backbone, models_dir: str | Path | None) -> Basis:
    return load_basis(find_companion(backbone.info.model, BASIS, models_dir), backbone.info)
