"""A tracker made on another machine: from files that were sent there, not from what happens to lie there."""

from __future__ import annotations

import contextlib
from functools import partial
from pathlib import Path
from typing import Any

from edge_tracker import __version__
from edge_tracker.backbones.cards import card_path, files_of
from edge_tracker.backbones.catalogue import COMPANIONS, find_model
from edge_tracker.errors import ModelError
from edge_tracker.jobs.cluster import Shipment, shipped
from edge_tracker.tracker import Tracker


def packed(make: partial[Tracker]) -> tuple[partial[Tracker], Shipment]:
    """The same tracker for another machine, and the files it needs there: model, card, head, weight network.

    make: a Tracker's class with `tracker, model` and keywords. Raises ModelError where one of the files is missing.
    """
    tracker, model = make.args
    options: dict[str, Any] = dict(make.keywords)
    found = find_model(model, options.pop("models_dir", None), options.get("engine", "auto"))
    info = make().backbone.info
    needed = [*files_of(found.path), *(card for card in (card_path(found.path),) if card.is_file())]
    for ending in COMPANIONS:
        with contextlib.suppress(ModelError):  # whether the method wants it, it says itself
            needed.append(found.companion(info, ending))
    network = options.pop("weight_network", None)
    if network is not None:
        needed.append(Path(network))
        options["weight_network"] = Path(network).name
    try:
        shipment = Shipment({file.name: file.read_bytes() for file in needed})
    except OSError as error:
        raise ModelError(f"cannot read {error.filename}: {error.strerror}") from error
    return partial(_unpacked, shipment.digest, __version__, tracker, found.path.name, **options), shipment


def _unpacked(digest: str, version: str, tracker: str, model: str, **options: Any) -> Tracker:
    folder = shipped(digest, version)
    network = options.pop("weight_network", None)
    if network is not None:
        options["weight_network"] = folder / network
    return Tracker(tracker, folder / model, models_dir=folder, **options)
