"""Make the README's picture: the synthetic clip, tracked with the packaged model, six frames on a sheet.

python scripts/readme_picture.py docs/images/synthetic.jpg
"""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np

from edge_tracker import Tracker
from edge_tracker.files import whole_file
from edge_tracker.outputs.annotate import annotate
from edge_tracker.video.synthetic import SyntheticClip

COLUMNS, ROWS = 3, 2


def main() -> None:
    clip = SyntheticClip()
    tracker = Tracker("accurate")
    shown = set(np.linspace(1, clip.frames - 1, COLUMNS * ROWS).astype(int))
    pictures = []
    for index, (image, box) in enumerate(clip):
        if index == 0:
            tracker.init(image, box)
            continue
        track = tracker.update(image)
        if index in shown:
            pictures.append(annotate(image, [track]))
    rows = [np.hstack(pictures[start : start + COLUMNS]) for start in range(0, len(pictures), COLUMNS)]
    with whole_file(Path(sys.argv[1])) as aside:
        if not cv2.imwrite(str(aside), np.vstack(rows)):
            sys.exit(f"cannot write {sys.argv[1]}")


if __name__ == "__main__":
    main()
