"""`edge-track [track]`: targets through a video, a folder of images, a stream or a camera."""

from __future__ import annotations

import argparse
import sys
from typing import Any

import cv2
from tqdm import tqdm

from edge_tracker.cli.live import run_service, service_config
from edge_tracker.cli.options import add_tracker_options, positive_int, tracker_factory
from edge_tracker.errors import EdgeTrackerError
from edge_tracker.outputs.open import KNOWN, Origin, open_outputs
from edge_tracker.service import run
from edge_tracker.service.choose import FORMS, Wish, parsed_wish
from edge_tracker.track import Track
from edge_tracker.video import Frame, open_source
from edge_tracker.video.open import is_live


def add_parser(commands: Any) -> None:
    parser = commands.add_parser("track", help="track one object (the default)", description=__doc__)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--source", metavar="PATH|URL", help="video file, image folder, quoted glob, stream; - is standard input"
    )
    source.add_argument("--camera", type=int, metavar="N", help="camera number")
    parser.add_argument(
        "--init",
        action="append",
        default=[],
        type=wish,
        metavar="X,Y,W,H",
        help=f"what is followed, may be repeated: {FORMS}; without it, targets are chosen on the page",
    )
    parser.add_argument(
        "--web",
        metavar="[HOST:]PORT",
        help="the page: live picture, choosing targets; this machine alone (127.0.0.1) unless HOST says otherwise",
    )
    parser.add_argument("--state", metavar="FILE", help="keep targets of a camera or stream across restarts in FILE")
    parser.add_argument(
        "--output", "-o", action="append", default=[], metavar="FILE", help=f"may be repeated; its kind: {KNOWN}"
    )
    parser.add_argument("--fps", type=positive_rate, metavar="N", help="frames per second of a source without a clock")
    parser.add_argument("--max-frames", type=positive_int, metavar="N", help="stop after N frames")
    parser.add_argument("--quiet", action="store_true", help="no progress, no summary")
    add_tracker_options(parser)
    parser.set_defaults(run=run_command)


def wish(text: str) -> Wish:
    try:
        return parsed_wish(text)
    except EdgeTrackerError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def positive_rate(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= 1000:
        raise argparse.ArgumentTypeError(f"frames per second, above 0 and up to 1000, not {text!r}")
    return value


def run_command(args: argparse.Namespace) -> int:
    cv2.setNumThreads(1)
    spec = args.source if args.source is not None else f"camera:{args.camera}"
    one = args.init[0] if len(args.init) == 1 else None
    if one is None or one.box is None or one.name or args.web or args.state is not None or is_live(spec):
        return run_service(service_config(args, spec), args.max_frames, args.quiet, fallback=args.web is None)
    tracker = tracker_factory(args)()
    with open_source(spec, args.fps, args.threads) as source:
        frames = min((n for n in (source.length, args.max_frames) if n is not None), default=None)
        outputs = open_outputs(args.output, [*source.paths, *tracker.files], Origin(source.fps, frames))
        with tqdm(total=frames, unit=" frames", disable=args.quiet or None) as progress:

            def on_frame(_: Frame, track: Track) -> None:
                progress.update()
                progress.set_postfix_str(f"{track.state.value} {track.confidence:.2f}", refresh=False)

            summary = run(source, tracker, one.box, outputs, args.max_frames, on_frame)
    if not args.quiet:
        print(
            f"{summary.frames} frames, {summary.fps:.0f} updates/s, {summary.lost_frames} LOST; "
            f"model {tracker.backbone.info.model}",
            file=sys.stderr,
        )
    return 0
