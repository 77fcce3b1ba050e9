"""`edge-track [track]`: one target through a video, a folder of images or a camera."""

from __future__ import annotations

import argparse
import sys
from typing import Any

import cv2
from tqdm import tqdm

from edge_tracker.boxes import Box
from edge_tracker.cli.options import add_tracker_options, positive_int, tracker_factory
from edge_tracker.errors import EdgeTrackerError
from edge_tracker.outputs import CsvOutput, JsonLinesOutput, Output, VideoOutput
from edge_tracker.service import run
from edge_tracker.service.run import close_all
from edge_tracker.track import Track
from edge_tracker.video import Frame, open_camera, open_source


def add_parser(commands: Any) -> None:
    parser = commands.add_parser("track", help="track one object (the default)", description=__doc__)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--source", metavar="PATH|URL", help="video file, stream, image folder or quoted glob")
    source.add_argument("--camera", type=int, metavar="N", help="camera number")
    parser.add_argument("--init", required=True, type=parse_box, metavar="X,Y,W,H", help="the target in frame 0, px")
    parser.add_argument("--output", metavar="FILE", help="annotated video: .mp4, .avi or .mkv")
    parser.add_argument("--jsonl", metavar="FILE", help="one JSON line per frame; - is standard output")
    parser.add_argument("--csv", metavar="FILE", help="one CSV row per frame; - is standard output")
    parser.add_argument("--max-frames", type=positive_int, metavar="N", help="stop after N frames")
    parser.add_argument("--quiet", action="store_true", help="no progress, no summary")
    add_tracker_options(parser)
    parser.set_defaults(run=run_command)


def parse_box(text: str) -> Box:
    parts = text.split(",")
    try:
        x, y, w, h = (float(part) for part in parts)
    except ValueError:
        raise argparse.ArgumentTypeError(f"four numbers x,y,w,h, not {text!r}") from None
    return x, y, w, h


def run_command(args: argparse.Namespace) -> int:
    cv2.setNumThreads(1)
    tracker = tracker_factory(args)()
    outputs: list[Output] = []
    with open_source(args.source) if args.source is not None else open_camera(args.camera) as source:
        try:
            if args.output:
                outputs.append(VideoOutput(args.output, source.fps))
            if args.jsonl:
                outputs.append(JsonLinesOutput(args.jsonl))
            if args.csv:
                outputs.append(CsvOutput(args.csv))
        except EdgeTrackerError:
            close_all(outputs, complete=False)
            raise
        lengths = [n for n in (source.length, args.max_frames) if n is not None]
        with tqdm(total=min(lengths, default=None), unit=" frames", disable=args.quiet or None) as progress:

            def on_frame(_: Frame, track: Track) -> None:
                progress.update()
                progress.set_postfix_str(f"{track.state.value} {track.confidence:.2f}", refresh=False)

            summary = run(source, tracker, args.init, outputs, args.max_frames, on_frame)
    if not args.quiet:
        print(
            f"{summary.frames} frames, {summary.fps:.0f} updates/s, {summary.lost_frames} LOST; "
            f"model {tracker.backbone.info.model}",
            file=sys.stderr,
        )
    return 0
