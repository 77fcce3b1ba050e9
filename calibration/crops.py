"""Calibration crops: representative, different from each other, some held out, all in one file to use again."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from calibration.footage import Footage
from edge_tracker.backbones.base import METADATA_KEY, Name
from edge_tracker.boxes import Box
from edge_tracker.errors import ConfigError, DatasetError, first_line
from edge_tracker.files import write_bytes
from edge_tracker.fmst.config import FmstConfig
from edge_tracker.roi import crop, is_plain, window_around
from edge_tracker.settings import converted, decode

POSITION_JITTER = 0.1  # standard deviation of the window's shift, of the box's sides: a target moves between frames
SCALE_JITTER = 0.1  # standard deviation of the logarithm of the window's size: so far a tracker's size is off
RANDOM_SIZES = (0.08, 0.4)  # sides of boxes drawn where there are none, of the frame's shorter side
THUMBNAIL = 16  # px; crops are compared at this size
DUPLICATE = 6.0  # mean difference of thumbnails, grey levels, under which two crops count as one
SURPLUS = 2  # so many times more crops than asked for are drawn, because duplicates go


@dataclass(frozen=True)
class Crops:
    """Crops uint8 (N, S, S, 3) BGR. `held_out` (N,) bool marks those that no quantiser may see; `source` (N,) names."""

    crops: NDArray[np.uint8]
    held_out: NDArray[np.bool_]
    source: NDArray[np.str_]

    @property
    def side(self) -> int:
        return int(self.crops.shape[1])

    @property
    def calibration(self) -> NDArray[np.uint8]:
        return self.crops[~self.held_out]

    @property
    def unseen(self) -> NDArray[np.uint8]:
        return self.crops[self.held_out]

    def save(self, path: Path) -> None:
        """Write one safetensors file, the names of the sources in its metadata. Raises OutputError."""
        tensors = {"crops": np.ascontiguousarray(self.crops), "held_out": np.ascontiguousarray(self.held_out)}
        write_bytes(
            path, save(tensors, {METADATA_KEY: json.dumps([name[:200] or "-" for name in self.source.tolist()])})
        )

    @classmethod
    def load(cls, path: Path) -> Crops:
        """Read what `save` wrote; nothing is inflated. Raises DatasetError."""
        try:
            with safe_open(path, framework="numpy") as file:
                crops, held_out = (file.get_tensor(name) for name in ("crops", "held_out"))
                text = (file.metadata() or {}).get(METADATA_KEY, "")
            source = converted(decode(text, str(path)), list[Name], "the sources")
        except (OSError, SafetensorError, ConfigError, TypeError, ValueError, KeyError, AttributeError) as error:
            raise DatasetError(f"{path} is no file of calibration crops: {first_line(error)}") from error
        if crops.ndim != 4 or len(source) != len(crops):
            raise DatasetError(f"{path} holds no crops (N, S, S, 3) with a name each")
        found = cls(crops, held_out, np.array(source, np.str_))
        found.check(path)
        return found

    def check(self, name: object) -> None:
        """Raise DatasetError unless shapes and types are right and both parts hold something."""
        n, *shape = self.crops.shape
        square = self.crops.dtype == np.uint8 and len(shape) == 3 and shape[0] == shape[1] and shape[2] == 3
        if not square or self.held_out.shape != (n,) or self.held_out.dtype != np.bool_ or self.source.shape != (n,):
            raise DatasetError(f"{name} holds no uint8 crops (N, S, S, 3) with a mark and a name each")
        if self.held_out.all() or not self.held_out.any():
            raise DatasetError(f"{name}: {n} crops are too few: some must be for calibration and some held out")


def collect(
    footage: Sequence[Footage], count: int = 400, side: int = 224, held_out: float = 0.25, seed: int = 0
) -> Crops:
    """Draw about `count` crops evenly from all footage: the windows a tracker would look through.

    footage: with boxes, windows lie around them with the jitter of tracking; without, around boxes drawn at random.
    held_out: the share kept from calibration: whole shots where there are four or more, else the end of each.

    The same footage and seed give the same crops. Raises DatasetError where there is too little, SourceError.
    """
    if count < 2 or not 0 < held_out < 1:
        raise DatasetError("at least 2 crops, and a held-out share between 0 and 1, are needed")
    if seed < 0:
        raise DatasetError(f"a seed is a whole number of at least 0, not {seed}")
    if not footage:
        raise DatasetError("no footage to take crops from")
    generator = np.random.default_rng(seed)
    share = math.ceil(SURPLUS * count / len(footage))
    drawn = [_draw(shot, share, side, generator) for shot in footage]
    if len(footage) >= 4:
        chosen = set(generator.permutation(len(footage))[: max(1, round(held_out * len(footage)))].tolist())
        marks = [[number in chosen] * len(crops) for number, crops in enumerate(drawn)]
    else:
        marks = [[k >= (1 - held_out) * len(crops) for k in range(len(crops))] for crops in drawn]
    pool = [
        (patch, mark, shot.name)
        for shot, crops, flags in zip(footage, drawn, marks, strict=True)
        for patch, mark in zip(crops, flags, strict=True)
    ]
    pool = [pool[k] for k in generator.permutation(len(pool))]
    keep = [pool[k] for k in _distinct([patch for patch, _, _ in pool])]
    # Both parts keep their share, whichever lost more duplicates.
    limit = {True: max(1, round(count * held_out)), False: max(1, count - round(count * held_out))}
    taken = []
    for item in keep:
        if limit[item[1]] > 0:
            limit[item[1]] -= 1
            taken.append(item)
    found = Crops(
        np.array([t[0] for t in taken], np.uint8).reshape(-1, side, side, 3),
        np.array([t[1] for t in taken], np.bool_),
        np.array([t[2] for t in taken], np.str_),
    )
    found.check("this footage")
    return found


def _draw(footage: Footage, share: int, side: int, generator: np.random.Generator) -> list[NDArray[np.uint8]]:
    """At most `share` crops of one shot, in its order, every frame with equal chance (reservoir sampling).

    A shot's length need not be known, and only crops are kept, not frames.
    """
    kept: list[tuple[int, NDArray[np.uint8]]] = []
    for number, (image, given) in enumerate(footage.shots()):
        place = len(kept) if len(kept) < share else int(generator.integers(number + 1))
        if place >= share:
            continue
        box = _jittered(given, generator) if given is not None else _random_box(image.shape, generator)
        patch = crop(image, window_around(box, FmstConfig().roi_scale), side)
        if is_plain(patch):
            continue
        kept[place : place + 1] = [(number, patch)]
    return [patch for _, patch in sorted(kept, key=lambda item: item[0])]


def _jittered(box: NDArray[np.float64], generator: np.random.Generator) -> Box:
    x, y, w, h = box.tolist()
    dx, dy = generator.normal(0, POSITION_JITTER, 2)
    k = math.exp(generator.normal(0, SCALE_JITTER))
    return x + dx * w + (1 - k) * w / 2, y + dy * h + (1 - k) * h / 2, k * w, k * h


def _random_box(shape: tuple[int, ...], generator: np.random.Generator) -> Box:
    height, width = shape[:2]
    low, high = np.log(RANDOM_SIZES)
    w, h = min(height, width) * np.exp(generator.uniform(low, high, 2))
    cx, cy = generator.uniform(0, 1, 2) * (width, height)
    return float(cx - w / 2), float(cy - h / 2), float(w), float(h)


def _distinct(patches: Sequence[NDArray[np.uint8]]) -> list[int]:
    """Indices of the patches that resemble none before them."""
    thumbnails: NDArray[np.float32] = np.empty((0, THUMBNAIL * THUMBNAIL * 3), np.float32)
    kept: list[int] = []
    for number, patch in enumerate(patches):
        small = cv2.resize(patch, (THUMBNAIL, THUMBNAIL), interpolation=cv2.INTER_AREA).reshape(1, -1)
        thumbnail = small.astype(np.float32)
        if len(kept) and np.abs(thumbnails - thumbnail).mean(axis=1).min() < DUPLICATE:
            continue
        thumbnails = np.concatenate([thumbnails, thumbnail])
        kept.append(number)
    return kept


def contact_sheet(crops: Crops, columns: int = 20, tile: int = 64) -> NDArray[np.uint8]:
    """All crops in one picture (H, W, 3), those held out last and with a white frame, to be looked at."""
    order = np.argsort(crops.held_out, kind="stable")
    rows = -(-len(order) // columns)
    sheet = np.zeros((rows * tile, columns * tile, 3), np.uint8)
    for place, number in enumerate(order):
        small = cv2.resize(crops.crops[number], (tile, tile), interpolation=cv2.INTER_AREA)
        if crops.held_out[number]:
            cv2.rectangle(small, (0, 0), (tile - 1, tile - 1), (255, 255, 255), 2)
        y, x = divmod(place, columns)
        sheet[y * tile : (y + 1) * tile, x * tile : (x + 1) * tile] = small
    return sheet
