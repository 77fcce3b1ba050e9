"""Render the scenes that the refinement network learns from (mask_scenes.py, refinement_scenes.py) into a folder.

    python scripts/render_scenes.py --data DIR --photos DIR --masks DIR --masks-video DIR --output FOLDER

The pictures hold for every model and every fold, so they are rendered once: `patches.npy` (n, side, side, 3), and in
`scenes.npz` for each of them the target's box, others' boxes (NaN where there are none) and its scene; for each scene
its kind (what resembles it), the sequence it comes from ("" for a photograph) and the object it shows.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
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
from training import sequence_of

from edge_tracker.closed_form.config import ClosedFormConfig
from edge_tracker.errors import EdgeTrackerError
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


def scenes(args: argparse.Namespace) -> Iterator[Rendered]:
    side = ClosedFormConfig().input_side

    def chance(*key: int) -> np.random.Generator:
        return np.random.default_rng([args.seed, *key])

    photos = [as_photo(read_image(p)) for p in pictures(args.photos)]
    objects = read_objects(args.masks)
    whole = {kind: [o.cut() for o in objects if o.inside and o.kind == kind] for kind in {o.kind for o in objects}}
    everything = [item for items in whole.values() for item in items]
    kin = {kind: items if len(items) > 20 else everything for kind, items in whole.items()}
    print(f"{len(objects)} objects, {len(everything)} of them whole", flush=True)
    for number, task in enumerate(read_tasks(args.data)):
        name = sequence_of(task.name)
        kind = name.split("_")[0] if name.startswith(("TUD", "CDnet")) else name
        for views in sequence_scenes(chance(0, number), task, SEQUENCES, side):
            yield Rendered(kind, name, task.name, views)
    for number, folder in enumerate(sorted(p for p in args.masks_video.iterdir() if p.is_dir())):
        frames = read_video(folder)
        for views in video_scenes(chance(1, number), frames, everything, photos, VIDEOS, side):
            yield Rendered("video", folder.name, f"masks {folder.name}", views)
    for number, item in enumerate(objects):
        for turn in range(IN_PLACE):
            yield Rendered(
                item.kind, "", item.name, in_place_scene(chance(2, turn, number), item, kin[item.kind], photos, side)
            )
        for turn in range(PASTED if item.inside else 0):
            yield Rendered(
                item.kind, "", item.name, pasted_scene(chance(3, turn, number), item, kin[item.kind], photos, side)
            )
    for number, photo in enumerate(photos):
        for turn in range(DETAILS):
            yield Rendered("photo", "", f"photo {number}", detail_scene(chance(4, turn, number), photo, side))


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
    parser.add_argument("--limit", type=int, default=ROOM, help="views at most")
    args = parser.parse_args(argv)
    cv2.setNumThreads(1)
    try:
        args.output.mkdir(parents=True, exist_ok=True)
        truth = args.output / "scenes.npz"
        truth.unlink(missing_ok=True)  # an older one is not of the patches that follow
        side = ClosedFormConfig().input_side
        patches = open_memmap(args.output / "patches.npy", "w+", np.uint8, (args.limit, side, side, 3))
        boxes: list[NDArray[np.float64]] = []
        others: list[NDArray[np.float64]] = []
        scene_of: list[int] = []
        kinds, sequences, names = list[str](), list[str](), list[str]()
        for scene in tqdm(scenes(args), unit=" scenes", mininterval=20):
            if len(scene.views) < 2:
                continue
            if len(boxes) + len(scene.views) > args.limit:
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
    except (EdgeTrackerError, OSError) as error:
        print(f"render_scenes: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
