"""Fit the offline head of the closed-form tracker for a backbone: principal directions of its features.

    python scripts/fit_head.py --model mobilenetv3-small --models-dir models --data DIR --photos DIR \\
        --output models/mobilenetv3-small.head.safetensors

--data: sequences in OTB's layout, whose targets are cropped as the tracker sees them; --photos: pictures, of which
random squares are taken. Neither is needed alone. What is fitted are statistics over all of them; no picture is kept.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path

import numpy as np
from common import pictures
from numpy.typing import NDArray
from tqdm import tqdm
from training import check_output, one_line_errors

from edge_tracker.backbones.base import PURPOSES, Backbone, EngineOptions, Projection
from edge_tracker.backbones.catalogue import find_model
from edge_tracker.backbones.engines import load_backbone
from edge_tracker.cli.options import positive_int
from edge_tracker.closed_form.config import ClosedFormConfig
from edge_tracker.closed_form.head import Head, fit_projection, save_head
from edge_tracker.errors import DatasetError
from edge_tracker.evaluation.datasets import read_tasks
from edge_tracker.roi import Window, crop
from edge_tracker.video.images import read_image

# Of `likeness.Evidence`, and the constant: until scripts/calibrate.py has measured this backbone.
UNCALIBRATED = np.array(
    [
        [[2.5, 3.0, 1.0, 2.0, 0.0, -2.5], [2.5, 3.0, 1.0, 2.0, 2.0, -3.0]],
        [[2.5, 4.0, 4.0, 0.0, 0.0, -4.0], [2.5, 4.0, 4.0, 0.0, 0.0, -4.0]],
    ]
)
KEPT = 64  # directions in the file; the tracker takes the first it wants


def target_crops(data: Path, side: int, every: int, random: np.random.Generator) -> Iterator[NDArray[np.uint8]]:
    """Crops of all targets in every so-many-th frame, shifted and zoomed a little."""
    scale = ClosedFormConfig().roi_scale
    for task in read_tasks(data):
        for path, box in list(zip(task.frames, task.boxes, strict=True))[::every]:
            if not np.isfinite(box).all():
                continue
            roi = scale * np.sqrt(box[2] * box[3]) * np.exp(random.normal(0, 0.1))
            x, y = box[:2] + box[2:] / 2 + random.normal(0, 0.1, 2) * roi - roi / 2
            yield crop(read_image(path), Window(round(x), round(y), max(8, round(roi))), side)


def photo_crops(photos: Path, side: int, random: np.random.Generator) -> Iterator[NDArray[np.uint8]]:
    """A random square of every picture. Raises DatasetError where there is none."""
    for path in pictures(photos):
        image = read_image(path)
        height, width = image.shape[:2]
        edge = max(1, round(min(height, width) * random.uniform(0.3, 1)))
        x, y = random.integers(width - edge + 1), random.integers(height - edge + 1)
        yield crop(image, Window(int(x), int(y), edge), side)


def fit(backbone: Backbone, crops: Iterable[NDArray[np.uint8]]) -> tuple[dict[str, Projection], int]:
    """The projection of every tap, by its name, and the number of cells of the first that it was fitted to.

    Raises DatasetError where there are no crops.
    """
    taps = backbone.info.taps
    counts = [0] * len(taps)
    sums = [np.zeros(tap.channels) for tap in taps]
    products = [np.zeros((tap.channels, tap.channels)) for tap in taps]
    for patch in crops:
        for i, features in enumerate(backbone(patch)):
            flat = features.reshape(-1, features.shape[-1])
            counts[i] += len(flat)
            sums[i] += flat.sum(axis=0)
            products[i] += flat.T @ flat
    if not counts[0]:
        raise DatasetError("no picture at all: give --data, --photos or both")
    projections = {}
    for tap, count, total, product in zip(taps, counts, sums, products, strict=True):
        mean = total / count
        projections[tap.name] = fit_projection(mean, product / count - np.outer(mean, mean), KEPT)
    return projections, counts[0]


@one_line_errors("fit_head")
def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="name of the catalogue, or path of a model file")
    parser.add_argument("--models-dir", type=Path)
    parser.add_argument("--data", type=Path, help="folder of sequences, OTB layout")
    parser.add_argument("--photos", type=Path, help="folder of pictures")
    parser.add_argument("--every", type=positive_int, default=3, help="every so-many-th frame (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, required=True, help="the .head.safetensors file to write")
    args = parser.parse_args(argv)
    check_output(args.output, ".safetensors")
    model = find_model(args.model, args.models_dir)
    side = ClosedFormConfig().input_side
    backbone = load_backbone(model.path, EngineOptions(taps=PURPOSES, height=side, width=side))
    random = np.random.default_rng(args.seed)
    sources: list[Iterator[NDArray[np.uint8]]] = []
    if args.data:
        sources.append(target_crops(args.data, side, args.every, random))
    if args.photos:
        sources.append(photo_crops(args.photos, side, random))
    projections, cells = fit(backbone, tqdm(chain(*sources), unit=" crops", disable=None))
    save_head(args.output, backbone.info, Head(projections, UNCALIBRATED))
    print(f"{args.output}: {args.output.stat().st_size} bytes, from {cells} cells")
    return 0


if __name__ == "__main__":
    sys.exit(main())
