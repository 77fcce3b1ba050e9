"""`edge-track demo`: render a clip, track it, and show what came of it. Needs no video, no download, no network."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from tqdm import tqdm

from edge_tracker.boxes import iou
from edge_tracker.cli.options import add_tracker_options, tracker_factory
from edge_tracker.errors import OutputError
from edge_tracker.outputs import open_outputs
from edge_tracker.outputs.open import Origin
from edge_tracker.service import run
from edge_tracker.track import Track, TrackState
from edge_tracker.video import Frame
from edge_tracker.video.synthetic import WHOLE, ClipSource, SyntheticClip


def add_parser(commands: Any) -> None:
    parser = commands.add_parser("demo", help="render a clip, track it, show what came of it", description=__doc__)
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("edge-track-demo"),
        metavar="DIR",
        help="folder to write (default: %(default)s)",
    )
    parser.add_argument("--quiet", action="store_true", help="no progress, no summary")
    add_tracker_options(parser)
    parser.set_defaults(run=run_command)


def run_command(args: argparse.Namespace) -> int:
    cv2.setNumThreads(1)
    clip = SyntheticClip(frames=WHOLE)
    tracker = tracker_factory(args)()
    try:
        args.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot make the folder {args.out}: {error.strerror or error}") from error
    tracks: list[Track] = []
    with ClipSource(clip) as source, tqdm(total=WHOLE, unit=" frames", disable=args.quiet or None) as progress:
        names = [str(args.out / f"demo.{suffix}") for suffix in ("mp4", "jsonl", "png")]
        outputs = open_outputs(names, tracker.files, Origin(source.fps, WHOLE))

        def on_frame(_: Frame, track: Track) -> None:
            tracks.append(track)
            progress.update()

        x, y, w, h = clip.boxes[0].tolist()
        summary = run(source, tracker, (x, y, w, h), outputs, on_frame=on_frame)
    if not args.quiet:
        print(summary_text(clip, tracks, summary.fps, tracker.backbone.info.model, args.out), file=sys.stderr)
    return 0


def summary_text(clip: SyntheticClip, tracks: list[Track], fps: float, model: str, folder: Path) -> str:
    """The summary of a run, some lines."""
    overlap = iou(np.array([track.box for track in tracks]), clip.boxes)
    lost = np.array([track.state is TrackState.LOST for track in tracks])
    seen, away = clip.visible >= 0.5, clip.visible == 0
    return (
        f"mean IoU {overlap[seen].mean():.2f} over the {seen.sum()} frames in which the target is visible\n"
        f"{fps:.0f} updates/s with model {model}\n"
        f"lost in {lost.sum()} frames: {lost[away].sum()} of the {away.sum()} without the target, "
        f"{lost[seen].sum()} of those with it\n"
        f"look at {folder / 'demo.mp4'} and {folder / 'demo.png'}; the boxes are in {folder / 'demo.jsonl'}"
    )
