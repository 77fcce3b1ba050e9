"""Render the synthetic clip to a video: `python scripts/render_clip.py clip.mp4`, and print the target's first box."""

from __future__ import annotations

import argparse

import cv2

from edge_tracker.evaluation.synthetic import SyntheticClip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output", help="the .mp4 file to write")
    parser.add_argument("--frames", type=int, default=SyntheticClip.frames)
    args = parser.parse_args()
    clip = SyntheticClip(frames=args.frames)
    writer = cv2.VideoWriter(args.output, cv2.VideoWriter.fourcc(*"mp4v"), 30.0, (clip.width, clip.height))
    if not writer.isOpened():
        parser.error(f"cannot write {args.output}")
    first = None
    for image, box in clip:
        first = first or box
        writer.write(image)
    writer.release()
    assert first is not None
    print("target in frame 0: " + ",".join(f"{v:g}" for v in first))


if __name__ == "__main__":
    main()
