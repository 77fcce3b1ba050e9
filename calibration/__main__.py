"""Take calibration crops from footage: `python -m calibration --frames DIR|VIDEO... --output crops.safetensors`.

Writes the crops, to be given to a converter as `--crops`, and a contact sheet PNG beside them, to be looked at.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import cv2

from calibration.crops import Crops, collect, contact_sheet
from calibration.footage import find_footage
from edge_tracker.errors import DatasetError, EdgeTrackerError, OutputError
from edge_tracker.files import whole_file


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="calibration", description=__doc__)
    parser.add_argument(
        "--frames",
        nargs="+",
        required=True,
        metavar="PATH",
        help="videos, image folders, sequences with ground truth; boxes of NAME are taken from NAME.txt",
    )
    parser.add_argument(
        "--output", type=Path, required=True, metavar="FILE.safetensors", help="where to write the crops"
    )
    parser.add_argument("--count", type=int, default=400, help="crops in all (default: %(default)s)")
    parser.add_argument("--held-out", type=float, default=0.25, help="share kept for checking (default: %(default)s)")
    parser.add_argument("--side", type=int, default=224, help="px, as the model takes them (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    try:
        if args.output.suffix != ".safetensors" or not args.output.parent.is_dir():
            raise DatasetError(f"--output is a .safetensors file in a folder that exists, not {args.output}")
        if args.side < 16:
            raise DatasetError(f"--side is at least 16 px, not {args.side}")
        sheet = args.output.with_suffix(".png")
        if any(sheet.resolve().is_relative_to(Path(spec).resolve()) for spec in args.frames):
            raise OutputError(f"{sheet} would come to lie among the frames: write the crops into another folder")
        crops = collect(find_footage(args.frames), args.count, args.side, args.held_out, args.seed)
        crops.save(args.output)
        with whole_file(sheet) as aside:
            if not cv2.imwrite(str(aside), contact_sheet(crops)):
                raise OutputError(f"cannot write {sheet}")
    except EdgeTrackerError as error:
        print(f"calibration: {error}", file=sys.stderr)
        return 2
    print(summary(crops, args.output))
    return 0


def summary(crops: Crops, path: Path) -> str:
    shots = len(set(crops.source.tolist()))
    return f"{path}: {len(crops.calibration)} crops to calibrate with, {len(crops.unseen)} held out, of {shots} shots"


if __name__ == "__main__":
    sys.exit(main())
