"""Ground truth as text: one box per line, in the formats of common data sets."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_tracker.boxes import from_one_based, to_one_based
from edge_tracker.errors import DatasetError, first_line
from edge_tracker.recognise import mistaken


def read_boxes(path: Path, one_based: bool = True) -> NDArray[np.float64]:
    """Read x, y, w, h per line, separated by commas, tabs, semicolons or spaces -> (n, 4), 0-based pixels.

    Eight numbers are the corners of a polygon; the upright box around it is taken. Rows with NaN and boxes without area
    become all NaN: the target is absent. one_based: the first pixel has number 1 in the file.

    Raises DatasetError that names the line.
    """
    rows = []
    for number, line in numbered_lines(path):
        values = numbers_of(line, path, number)
        if len(values) == 8:
            xs, ys = values[0::2], values[1::2]
            values = [min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)]
        if len(values) != 4:
            raise DatasetError(f"{path}, line {number}: {len(values)} numbers, not 4")
        present = np.isfinite(values).all() and values[2] > 0 and values[3] > 0
        rows.append(values if present else [np.nan] * 4)
    if not rows:
        raise DatasetError(f"{path} holds no box")
    boxes = np.array(rows, dtype=np.float64)
    return from_one_based(boxes) if one_based else boxes


def numbered_lines(path: Path) -> list[tuple[int, str]]:
    """The lines of a text that are not blank, with their numbers from 1. Raises DatasetError."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise DatasetError(f"cannot read {path}: {mistaken(path) or first_line(error)}") from error
    except OSError as error:
        raise DatasetError(f"cannot read {path}: {error.strerror or error}") from error
    if lines and (reason := mistaken(path)):
        raise DatasetError(f"cannot read {path}: {reason}")
    return [(number, line) for number, line in enumerate(lines, start=1) if line.strip()]


def numbers_of(line: str, path: Path, number: int) -> list[float]:
    """The numbers of a line. Raises DatasetError."""
    try:
        return [float(v) for v in re.split(r"[,;\s]+", line.strip(" \t,;"))]
    except ValueError as error:
        raise DatasetError(f"{path}, line {number}: not numbers: {line!r}") from error


def is_blank(path: Path) -> bool:
    """Whether a file is empty or has only blank lines; False if it cannot be read."""
    try:
        return not path.read_bytes().strip(b"\xef\xbb\xbf \t\r\n")
    except OSError:
        return False


def write_boxes(path: Path, boxes: NDArray[np.float64]) -> None:
    """Write 0-based boxes (n, 4) in the format of OTB's ground truth: 1-based, one `x,y,w,h` per line."""
    np.savetxt(path, to_one_based(boxes), fmt="%.3f", delimiter=",")
