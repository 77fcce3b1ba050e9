"""Render the scenes that the refinement network learns from (mask_scenes.py, refinement_scenes.py) into a folder.

    python scripts/render_scenes.py --data DIR --photos DIR --masks DIR --masks-video DIR --output FOLDER

The pictures hold for every model and every fold, so they are rendered once: `patches.npy` (n, side, side, 3), and in
`scenes.npz` for each of them the target's box, others' boxes (NaN where there are none) and its scene; for each scene
its kind (what resembles it), the sequence it comes from ("" for a photograph) and the object it shows.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from common import pictures
from mask_scenes import in_place_scene, pasted_scene, read_objects, read_video, video_scenes
from numpy.lib.format import open_memmap
from numpy.typing import NDArray
from refinement_scenes import View, as_photo, detail_scene, sequence_scenes
from tqdm import tqdm
from training import one_line_errors, sequence_of

from edge_tracker.cli.options import positive_int
from edge_tracker.closed_form.config import ClosedFormConfig
from edge_tracker.errors import DatasetError
from edge_tracker.evaluation.datasets import read_tasks
from edge_tracker.files import whole_file
from edge_tracker.video.images import read_image

PASTED, IN_PLACE, VIDEOS, SEQUENCES, DETAILS = 2, 1, 6, 6, 2  # scenes of each object, object, video, sequence, photo
MOST_OTHERS = 2
ROOM = 80_000  # views at most


class Rendered(NamedTuple):
    kind: str
    sequence: str
    name: str
    views: list[View]


class Sources:
    """What scenes are made of, and how: each maker gives all scenes of one source."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.seed, self.times = args.seed, args.times
        self.side = ClosedFormConfig().input_side
        self.photos = [as_photo(read_image(p)) for p in pictures(args.photos)]
        self.objects = read_objects(args.masks)
        kinds = {o.kind for o in self.objects}
        whole = {kind: [o.cut() for o in self.objects if o.inside and o.kind == kind] for kind in kinds}
        self.everything = [item for items in whole.values() for item in items]
        self.kin = {kind: items if len(items) > 20 else self.everything for kind, items in whole.items()}
        self.tasks = read_tasks(args.data)
        self.videos = sorted(p for p in args.masks_video.iterdir() if p.is_dir())

    def jobs(self) -> list[tuple[str, int]]:
        """Maker and number of each source, in the order in which scenes are written."""
        sources = {"sequence": self.tasks, "video": self.videos, "masked": self.objects, "detail": self.photos}
        return [(maker, number) for maker, of_it in sources.items() for number in range(len(of_it))]

    def made(self, job: tuple[str, int]) -> list[Rendered]:
        """Scenes with two views at least."""
        maker, number = job
        scenes: Iterable[Rendered] = getattr(self, maker)(number)
        return [scene for scene in scenes if len(scene.views) >= 2]

    def sequence(self, number: int) -> Iterator[Rendered]:
        task = self.tasks[number]
        name = sequence_of(task.name)
        kind = name.split("_")[0] if name.startswith(("TUD", "CDnet")) else name
        for views in sequence_scenes(self._chance(0, number), task, SEQUENCES * self.times, self.side):
            yield Rendered(kind, name, task.name, views)

    def video(self, number: int) -> Iterator[Rendered]:
        folder = self.videos[number]
        frames, chance = read_video(folder), self._chance(1, number)
        for views in video_scenes(chance, frames, self.everything, self.photos, VIDEOS * self.times, self.side):
            yield Rendered("video", folder.name, f"masks {folder.name}", views)

    def masked(self, number: int) -> Iterator[Rendered]:
        item = self.objects[number]
        for way, make, turns in ((2, in_place_scene, IN_PLACE), (3, pasted_scene, PASTED if item.inside else 0)):
            for turn in range(turns * self.times):
                chance = self._chance(way, turn, number)
                yield Rendered(
                    item.kind, "", item.name, make(chance, item, self.kin[item.kind], self.photos, self.side)
                )

    def detail(self, number: int) -> Iterator[Rendered]:
        for turn in range(DETAILS * self.times):
            views = detail_scene(self._chance(4, turn, number), self.photos[number], self.side)
            yield Rendered("photo", "", f"photo {number}", views)

    def _chance(self, *key: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, *key])


_sources: Sources


def rendered(sources: Sources, jobs: int) -> Iterator[Rendered]:
    """All scenes, made by so many processes. Raises DatasetError where one of them is killed."""
    global _sources
    _sources = sources  # processes that are forked have it without a copy
    pool = ProcessPoolExecutor(jobs, multiprocessing.get_context("fork"))
    try:
        for scenes in pool.map(_made, sources.jobs(), chunksize=4):
            yield from scenes
    except BrokenProcessPool as error:
        raise DatasetError("a process that renders was killed: memory may be short for so many --jobs") from error
    finally:
        pool.shutdown(cancel_futures=True)


def _made(job: tuple[str, int]) -> list[Rendered]:
    return _sources.made(job)


@one_line_errors("render_scenes")
def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, what in (
        ("data", "sequences, OTB layout"),
        ("photos", "pictures"),
        ("masks", "masked photographs"),
        ("masks-video", "masked videos, a folder each"),
    ):
        parser.add_argument(f"--{name}", type=Path, required=True, help=f"folder of {what}")
    parser.add_argument("--output", type=Path, required=True, help="folder")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--times", type=positive_int, default=1, help="so many times the scenes of each source")
    parser.add_argument("--limit", type=int, help=f"views at most (default: {ROOM} for each time)")
    parser.add_argument("--jobs", type=positive_int, default=1, help="processes")
    args = parser.parse_args(argv)
    cv2.setNumThreads(1)
    args.output.mkdir(parents=True, exist_ok=True)
    truth = args.output / "scenes.npz"
    truth.unlink(missing_ok=True)  # an older one is not of the patches that follow
    side = ClosedFormConfig().input_side
    limit = args.limit or args.times * ROOM
    patches = open_memmap(args.output / "patches.npy", "w+", np.uint8, (limit, side, side, 3))
    boxes: list[NDArray[np.float64]] = []
    others: list[NDArray[np.float64]] = []
    scene_of: list[int] = []
    kinds, sequences, names = list[str](), list[str](), list[str]()
    sources = Sources(args)
    for scene in tqdm(rendered(sources, args.jobs), unit=" scenes", mininterval=20):
        if len(boxes) + len(scene.views) > limit:
            break
        for view in scene.views:
            patches[len(boxes)] = view.patch
            beside = np.full((MOST_OTHERS, 4), np.nan)
            beside[: len(view.others)] = np.array(view.others).reshape(-1, 4)
            boxes.append(np.array(view.box))
            others.append(beside)
            scene_of.append(len(kinds))
        kinds.append(scene.kind)
        sequences.append(scene.sequence)
        names.append(scene.name)
    patches.flush()
    with whole_file(truth) as aside:
        np.savez(
            aside,
            box=np.array(boxes, np.float32),
            others=np.array(others, np.float32),
            scene=np.array(scene_of),
            kind=np.array(kinds),
            sequence=np.array(sequences),
            name=np.array(names),
        )
    print(f"{len(boxes)} views of {len(kinds)} scenes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
