"""Which videos show one scene: they are left out together, and count as one."""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from pathlib import Path

from edge_tracker.errors import DatasetError

# Videos of one scene (names of shared training footage; another name is a scene of its own).
SCENES = (
    r"SegTrack_bmx|DAVIS_bmx", r"hummingbird", r"monkeydog", r"TLD_pedestrian", r"UAV_truck4", r"UAV_person1[12]",
    r"UAV_wakeboard", r"DAVIS_drift", r"DAVIS_horsejump", r"CDnet_highway", r"TUD_Campus",
)  # fmt: skip
MASKED = "masks."  # before the name of a video with masks


def scene_of(name: str) -> str:
    """The scene of a video; the same video may be there with boxes and with masks."""
    name = name.removeprefix(MASKED)
    for pattern in SCENES:
        if re.search(pattern, name):
            return pattern
    return name


def held_out(names: Sequence[str], fold: str) -> frozenset[str]:
    """Of the videos called `names`, those of about every n-th scene: fold "k/n", k from 0. Raises DatasetError.

    A scene's fold is a checksum of its name: the same whichever other videos there are.
    """
    match = re.fullmatch(r"(\d+)/(\d+)", fold)
    if match is None or not int(match[1]) < int(match[2]):
        raise DatasetError(f"a fold is k/n with k below n, such as 0/2, not {fold!r}")
    k, n = int(match[1]), int(match[2])
    return frozenset(name for name in names if zlib.crc32(scene_of(name).encode()) % n == k)


def unseen_by(folds: Sequence[str], names: Sequence[str]) -> dict[str, Path]:
    """Of each video that one of the files of pre-trained layers has not seen, that file. Raises DatasetError.

    folds: K/N=FILE, trained with --hold-out K/N.
    """
    found = {}
    for fold in folds:
        which, _, path = fold.partition("=")
        found.update(dict.fromkeys(held_out(names, which), Path(path)))
    return found
