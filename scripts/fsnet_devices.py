"""FSNet on the processor and on a CUDA device: how long each takes, and how far their boxes lie apart.

    python scripts/fsnet_devices.py --data OTB [--tasks Crossing,Couple] [--devices cpu,cuda] [--model edge-small]

Times are those of the clock around each call, of the second of two runs; reading pictures is not in them. Boxes are
compared with those of the first device. Where a device is not there, it is an error: the processor would answer for it.
Docs: docs/fsnet.md.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from training import one_line_errors

from edge_tracker.backbones.devices import usable
from edge_tracker.boxes import Box, as_box
from edge_tracker.errors import ConfigError
from edge_tracker.evaluation.datasets import read_tasks
from edge_tracker.evaluation.metrics import curves
from edge_tracker.evaluation.task import Task
from edge_tracker.images import size_of
from edge_tracker.methods import Prepared, prepare
from edge_tracker.threads import one_thread

ALIKE_PX = 1e-3  # boxes that differ by no more are the same but for rounding


def tracked(prepared: Prepared, task: Task, frames: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Boxes (n, 4) in image pixels, and milliseconds of each frame (n,)."""
    target = prepared.new_target()
    boxes: list[Box] = []
    times = []
    with one_thread():
        for index in range(min(frames, len(task))):
            image = task.image(index)
            box = as_box(task.init_box, size_of(image))
            start = time.perf_counter()
            if index:
                box = target.update(image).box
            else:
                target.init(image, box)
            times.append(1e3 * (time.perf_counter() - start))
            boxes.append(box)
    return np.array(boxes), np.array(times)


def alike(boxes: NDArray[np.float64], others: NDArray[np.float64]) -> int:
    """Frames before the first in which they differ by more than ALIKE_PX."""
    apart = abs(boxes - others).max(axis=1) > ALIKE_PX
    return int(apart.argmax()) if apart.any() else len(boxes)


@one_line_errors("fsnet_devices")
def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="sequences in OTB's layout")
    parser.add_argument("--tasks", metavar="A,B", default="Crossing,Couple")
    parser.add_argument("--devices", metavar="A,B", default="cpu,cuda")
    parser.add_argument("--model", default="edge-small")
    parser.add_argument("--models-dir", type=Path)
    parser.add_argument("--frames", type=int, default=120, help="of each task, at most (default: %(default)s)")
    args = parser.parse_args(arguments)
    devices = args.devices.split(",")
    for device in devices:
        if usable(device) != device:
            raise ConfigError(f"there is no device {device} to measure")
    made = {
        device: prepare("fsnet", args.model, engine="onnxruntime", device=device, models_dir=args.models_dir)
        for device in devices
    }
    print("| task | device | frame 1, ms | an update, ms: median | mean | p95 | updates a second | within 20 px, % |"
          f" frames alike | largest difference, px |\n|{'---|' * 10}")  # fmt: skip
    for task in read_tasks(args.data, args.tasks.split(",")):
        first: NDArray[np.float64] | None = None
        for device, prepared in made.items():
            boxes, _ = tracked(prepared, task, args.frames)
            again, times = tracked(prepared, task, args.frames)
            if not np.array_equal(boxes, again):
                raise ConfigError(f"two runs on {device} differ: {task.name}")
            first = boxes if first is None else first
            median, p95 = np.percentile(times[1:], (50, 95))
            mean = times[1:].mean()
            near = 100 * curves(boxes, task.boxes[: len(boxes)]).precision_score
            print(
                f"| {task.name} | {device} | {times[0]:.0f} | {median:.1f} | {mean:.1f} | {p95:.1f} | {1e3 / mean:.0f} "
                f"| {near:.0f} | {alike(first, boxes)} of {len(boxes)} | {abs(first - boxes).max():.1e} |",
                flush=True,
            )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
