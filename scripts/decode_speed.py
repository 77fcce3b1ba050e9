"""How fast 1080p H.264 is decoded to BGR on one thread, beside OpenCV's VideoCapture, and whether memory stays flat.

    python scripts/decode_speed.py [--seconds 10] [--passes 5] [--minutes 60]

Both read the same file in turns, each in full, in this one process; the time is the processor's, so that what else
runs on the machine disturbs little. Memory is the process's resident size after a
tenth and at the end of --minutes of small footage. Needs ffmpeg on the path.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ["OPENCV_FFMPEG_CAPTURE_OPTIONS"] = "threads;1"  # read when the first file is opened

import cv2

from edge_tracker.video import open_source

RATE = 30


def by_ours(path: Path) -> int:
    frames = 0
    with open_source(str(path)) as source:
        for _ in source:  # the last frame is held until the next one is there, as a tracker does
            frames += 1
    return frames


def by_opencv(path: Path) -> int:
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    frames = 0
    ok, image = capture.read()
    while ok and image is not None:
        frames += 1
        ok, image = capture.read()
    capture.release()
    return frames


def resident_mb() -> float:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize() / 1e6


def ffmpeg(*words: str) -> None:
    subprocess.run(["ffmpeg", "-v", "error", "-nostdin", "-y", *words], check=True)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=10, help="length of the 1080p clip (default: 10)")
    parser.add_argument("--passes", type=int, default=5, help="passes of each reader (default: 5)")
    parser.add_argument("--minutes", type=int, default=60, help="length of the footage for memory (default: 60)")
    args = parser.parse_args(argv)
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as folder:
        clip, part, long = (Path(folder) / name for name in ("clip.mp4", "part.mp4", "long.mp4"))
        # Noise keeps the bit rate at what a camera has, some 10 Mbit/s.
        scene = f"testsrc2=size=1920x1080:rate={RATE}:duration={args.seconds},noise=alls=8:allf=t"
        h264 = ("-c:v", "libx264", "-preset", "veryfast", "-pix_fmt", "yuv420p", "-threads", "1")
        ffmpeg("-f", "lavfi", "-i", scene, *h264, "-b:v", "10M", str(clip))
        readers: dict[str, Callable[[Path], int]] = {"edge_tracker": by_ours, "OpenCV": by_opencv}
        rates: dict[str, list[float]] = {name: [] for name in readers}
        for _ in range(args.passes):
            for name, reader in readers.items():
                start = time.process_time()
                frames = reader(clip)
                rates[name].append(frames / (time.process_time() - start))
        for name, found in rates.items():
            print(f"{name:12} {statistics.median(found):6.1f} frames per second of processor time")
        ratio = statistics.median(a / b for a, b in zip(*rates.values(), strict=True))
        print(f"ratio        {ratio:6.2f} (median of the passes' ratios)")
        ffmpeg("-f", "lavfi", "-i", f"testsrc2=size=320x240:rate={RATE}:duration=60", *h264, str(part))
        ffmpeg("-stream_loop", str(args.minutes - 1), "-i", str(part), "-c", "copy", str(long))
        with open_source(str(long)) as source:
            for frame in source:
                if frame.index == args.minutes * 60 * RATE // 10:
                    early = resident_mb()
        print(f"memory       {early:.0f} MB after {args.minutes * 6} s of footage, {resident_mb():.0f} MB at its end")
    return 0


if __name__ == "__main__":
    sys.exit(main())
