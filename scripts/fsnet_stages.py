"""Where the time of FSNet goes: processor time of the thread, of each stage of an update and of frame 1.

    python scripts/fsnet_stages.py --data OTB [--tasks Crossing,Couple] [--model edge-small] [--set NAME=VALUE]

A stage's time is its own, without that of the stages it asks. Docs: docs/fsnet.md.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from common import fsnet_parts
from training import one_line_errors

from edge_tracker.boxes import as_box
from edge_tracker.evaluation.datasets import read_tasks
from edge_tracker.fsnet import tracker as recipe
from edge_tracker.fsnet.config import FsnetConfig
from edge_tracker.fsnet.networks import network_for
from edge_tracker.images import size_of
from edge_tracker.methods import METHODS
from edge_tracker.settings import assign
from edge_tracker.threads import one_thread

OF_NETWORK = {
    "_backbone": "backbone",
    "look": "chosen maps",
    "pool": "RoIAlign",
    "judge": "classifier of boxes, box regression",
    "keep": "samples kept",
    "score_stored": "mining",
    "step": "steps of SGD",
}
OF_TRACKER = {"_see": "crop", "_remember": "samples drawn", "_tune": "batches drawn", "_judge": "belief, colours"}
OF_FRAME_1 = {"choose": "mutual information", "learn_views": "views drawn, box regression fitted"}


class Stages:
    """Own time of each stage, milliseconds."""

    def __init__(self) -> None:
        self.ms: defaultdict[str, float] = defaultdict(float)
        self._inside: list[float] = []  # of each stage begun, the time of those it asked

    def timed(self, stage: str, of: Callable[..., Any]) -> Callable[..., Any]:
        """The same function, watched."""

        def call(*arguments: Any) -> Any:
            self._inside.append(0.0)
            start = time.thread_time()
            try:
                return of(*arguments)
            finally:
                took = 1e3 * (time.thread_time() - start)
                self.ms[stage] += took - self._inside.pop()
                if self._inside:
                    self._inside[-1] += took

        return call


@one_line_errors("fsnet_stages")
def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="sequences in OTB's layout")
    parser.add_argument("--tasks", metavar="A,B", default="Crossing,Couple")
    parser.add_argument("--model", default="edge-small")
    parser.add_argument("--models-dir", type=Path)
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE")
    args = parser.parse_args(arguments)
    config = assign(METHODS["fsnet"].config, args.set)
    assert isinstance(config, FsnetConfig)
    backbone, pretrained = fsnet_parts(args.model, args.models_dir, config)
    first, update = Stages(), Stages()
    whole: list[float] = []
    functions = {name: getattr(recipe, name) for name in OF_FRAME_1}
    for name, stage in OF_FRAME_1.items():
        setattr(recipe, name, first.timed(stage, functions[name]))
    tasks = read_tasks(args.data, args.tasks.split(","))
    for task in tasks:
        network = network_for(backbone, config)
        tracker = recipe.FsnetTracker(network, config, pretrained)
        plain = {(owner, name): getattr(owner, name) for owner, names in ((network, OF_NETWORK), (tracker, OF_TRACKER))
                 for name in names}  # fmt: skip
        for index in range(len(task)):
            stages = update if index else first
            if index < 2:
                for (owner, name), of in plain.items():
                    setattr(owner, name, stages.timed({**OF_NETWORK, **OF_TRACKER}[name], of))
            image = task.image(index)
            with one_thread():
                start = time.thread_time()
                if index:
                    stages.timed("all else", tracker.update)(image)
                    whole.append(1e3 * (time.thread_time() - start))
                else:
                    stages.timed("all else", tracker.init)(image, as_box(task.init_box, size_of(image)))
    for name, of in functions.items():
        setattr(recipe, name, of)
    print("| stage | ms an update | ms in frame 1 |\n|---|---|---|")
    names = [*sorted({*first.ms, *update.ms} - {"all else"}, key=lambda name: -update.ms[name]), "all else"]
    for name in names:
        print(f"| {name} | {update.ms[name] / len(whole):.2f} | {first.ms[name] / len(tasks):.0f} |")
    print(f"| **whole** | **{np.mean(whole):.2f}** | **{sum(first.ms.values()) / len(tasks):.0f}** |")
    print(f"{len(whole)} updates: {1e3 / np.mean(whole):.1f} a second; p95 {np.percentile(whole, 95):.1f} ms, "
          f"largest {np.max(whole):.1f} ms")  # fmt: skip
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
