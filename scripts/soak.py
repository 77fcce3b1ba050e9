"""Run the service for many frames and say what it costs: memory, descriptors, threads, time from capture to JSON line.

    python scripts/soak.py --frames 200000 --targets 3 --viewers 1 --mqtt     # as fast as it goes: does anything grow?
    python scripts/soak.py --frames 200000 --mqtt --size 160x120              # the same in less time
    python scripts/soak.py --frames 1800 --fps 30 --viewers 0                 # latency of a camera at 30 frames/s
    python scripts/soak.py --frames 1800 --fps 30 --viewers 2                 # and with the page watched

The camera is made up: discs on a textured ground. MQTT needs the program mosquitto.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import json
import multiprocessing
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import aiohttp
import cv2
import numpy as np
from numpy.typing import NDArray

from edge_tracker.methods import prepare
from edge_tracker.outputs.base import Output
from edge_tracker.outputs.mqtt import MqttOutput
from edge_tracker.outputs.records import JsonLinesOutput
from edge_tracker.outputs.web.page import Page
from edge_tracker.service.targets import Targets
from edge_tracker.service.watch import Watch
from edge_tracker.track import Track
from edge_tracker.video.latest import LatestSource
from edge_tracker.video.source import Frame, Source

ROUND = 200  # frames after which the film begins again
Image = NDArray[np.uint8]


class Discs(Source):
    """Discs that circle, one a target; at `fps`, or as fast as they are taken."""

    name, live = "discs", True

    def __init__(self, targets: int, size: tuple[int, int], fps: float, taken: threading.Semaphore) -> None:
        self.fps = fps or 30.0
        self._paced, self._taken = fps > 0, taken
        random = np.random.default_rng(0)
        side = side_of(size)
        ground = cv2.resize(random.integers(60, 180, (24, 32, 3), dtype=np.uint8), size)
        discs = [cv2.resize(random.integers(0, 256, (6, 6, 3), dtype=np.uint8), (side, side)) for _ in range(targets)]
        self.images: list[Image] = []
        for k in range(ROUND):
            image = np.asarray(ground.copy(), dtype=np.uint8)
            for disc, (x, y) in zip(discs, places(targets, k, size), strict=True):
                image[round(y) : round(y) + side, round(x) : round(x) + side] = disc
            self.images.append(np.asarray(cv2.add(image, random.integers(0, 8, image.shape, np.uint8)), dtype=np.uint8))

    def __iter__(self) -> Iterator[Frame]:
        start, index = time.monotonic(), 0
        while True:
            if self._paced:
                time.sleep(max(start + index / self.fps - time.monotonic(), 0))
            else:
                self._taken.acquire(timeout=5)
            yield Frame(index, time.monotonic() - start, self.images[index % ROUND], taken_at=time.time())
            index += 1


def side_of(size: tuple[int, int]) -> int:
    """Of a disc, in a picture of `size` (width, height)."""
    return size[1] // 8


def places(targets: int, k: int, size: tuple[int, int]) -> list[tuple[float, float]]:
    """Left upper corners of the discs in frame `k` of the film."""
    (width, height), side = size, side_of(size)
    angle = 2 * np.pi * k / ROUND
    centres = [((j + 0.5) * width / targets, height / 2) for j in range(targets)]
    return [
        (x - side / 2 + width / 25 * np.cos(angle + j), y - side / 2 + height / 5 * np.sin(angle + j))
        for j, (x, y) in enumerate(centres)
    ]


class Clocked:
    """JSON lines, and when each was written, seconds after its capture."""

    def __init__(self, path: Path, frames: int, taken: threading.Semaphore) -> None:
        self._lines: Output = JsonLinesOutput(path)
        self._taken = taken
        self._seconds = np.full(frames, -1.0, np.float32)  # written now: what measures must not grow
        self.frames = 0

    @property
    def seconds(self) -> NDArray[np.float32]:
        """Of all frames after the first 100."""
        return self._seconds[min(100, self.frames - 1) : self.frames]

    def write(self, frame: Frame, tracks: Sequence[Track]) -> None:
        self._lines.write(frame, tracks)
        self._seconds[self.frames] = time.time() - (frame.taken_at or 0.0)
        self.frames += 1
        self._taken.release()

    def close(self, complete: bool) -> None:
        self._lines.close(complete)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=20_000)
    parser.add_argument("--targets", type=int, default=3)
    parser.add_argument("--viewers", type=int, default=1, help="of the page")
    parser.add_argument("--mqtt", action="store_true")
    parser.add_argument("--fps", type=float, default=0.0, help="of the camera; 0: as fast as it goes")
    parser.add_argument("--tracker", default="accurate")
    parser.add_argument("--size", default="640x480", help="of the frames")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        print(json.dumps(soak(args, Path(folder), stack), indent=1))
    return 0


def soak(args: argparse.Namespace, folder: Path, stack: contextlib.ExitStack) -> dict[str, object]:
    """Run, and give the figures."""
    width, height = (int(part) for part in args.size.split("x"))
    size, taken = (width, height), threading.Semaphore(2)
    clocked = Clocked(folder / "tracks.jsonl", args.frames, taken)
    page = Page("0")
    stack.callback(page.close)
    camera = page.camera("discs")
    outputs: dict[str, Output] = {"lines": clocked, "page": camera}
    if args.mqtt:
        outputs["mqtt"] = MqttOutput(f"mqtt://127.0.0.1:{broker(folder, stack)}")
    discs = Discs(args.targets, size, args.fps, taken)
    source = LatestSource(lambda: discs, "discs")
    side = float(side_of(size))
    first = [(None, (x, y, side, side)) for x, y in places(args.targets, 0, size)]
    watch = Watch("discs", source, Targets(prepare(args.tracker)), outputs, first=first)
    camera.desk = watch
    runner = threading.Thread(target=watch.run, args=(args.frames,))
    url = f"http://127.0.0.1:{page.port}/api/cameras/discs/live"
    elsewhere = multiprocessing.get_context("spawn")  # viewers are other people's processor time
    for _ in range(args.viewers):
        viewer = elsewhere.Process(target=view, args=(url,), daemon=True)
        viewer.start()
        stack.callback(viewer.kill)
    start = time.monotonic()
    runner.start()
    figures: list[tuple[int, float, int, int]] = []
    while runner.is_alive():
        runner.join(1.0)
        part = max(args.frames // 20, 1)
        if watch.status().updates // part > len(figures) and not watch.ended:
            figures.append((watch.status().updates, *measured()))
            print(*figures[-1], file=sys.stderr, flush=True)
    settled, end = figures[len(figures) // 4], figures[-1]
    period_s = 1 / args.fps if args.fps else None
    p50, p95 = (float(v) for v in np.percentile(clocked.seconds, [50, 95]))
    return {
        "frames": clocked.frames,
        "frames_per_s": round(clocked.frames / (time.monotonic() - start), 1),
        "size": args.size,
        "targets": args.targets,
        "viewers": args.viewers,
        "mqtt": args.mqtt,
        "memory_mb": {"after a quarter": round(settled[1], 1), "at the end": round(end[1], 1)},
        "descriptors": {"after a quarter": settled[2], "at the end": end[2]},
        "threads": {"after a quarter": settled[3], "at the end": end[3]},
        "targets at the end": [track.state.value for track in watch.targets.tracks],
        "capture_to_line_ms": {"p50": round(1e3 * p50, 2), "p95": round(1e3 * p95, 2)},
        "p95_in_periods": None if period_s is None else round(p95 / period_s, 3),
    }


def measured() -> tuple[float, int, int]:
    """Resident memory in MB, open descriptors, threads."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6, len(os.listdir("/proc/self/fd")), threading.active_count()  # noqa: PTH208


def view(url: str) -> None:
    """A viewer that takes all pictures, until the end."""

    async def take() -> None:
        async with aiohttp.ClientSession() as session, session.ws_connect(url, max_msg_size=0) as socket_:
            while True:
                message = await socket_.receive()
                if message.type is not aiohttp.WSMsgType.BINARY:
                    return

    with contextlib.suppress(aiohttp.ClientError, OSError):
        asyncio.run(take())


def broker(folder: Path, stack: contextlib.ExitStack) -> int:
    """Start mosquitto; its port."""
    program = shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if program is None:
        raise SystemExit("--mqtt needs the program mosquitto")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    (folder / "broker.conf").write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\n")
    process = subprocess.Popen([program, "-c", str(folder / "broker.conf")], stderr=subprocess.DEVNULL)
    stack.callback(process.kill)
    return port


if __name__ == "__main__":
    sys.exit(main())
