"""Read every combination of container, codec, pixel format and rate that ffmpeg can write, and compare with ffprobe.

    python scripts/video_matrix.py [--only mp4] [--keep DIR]

Prints a Markdown table; a row holds if frames and the time of the last one are ffprobe's. Exits with 1 where one does
not. Needs ffmpeg and ffprobe on the path; combinations that this ffmpeg cannot write are listed below the table.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from edge_tracker.errors import EdgeTrackerError
from edge_tracker.video import open_source

SECONDS = 2
RATES = {
    "25": ["-r", "25"],
    "29.97": ["-r", "30000/1001"],
    # Every third frame but some is dropped, and a pause of half a second in the middle.
    "variable": ["-vf", "select='mod(n,3)',setpts='PTS+gt(N,20)*0.5/TB'", "-vsync", "vfr"],
}
CONSTANT = ("25", "29.97")
ALL = tuple(RATES)
# container, codec and its options, pixel formats, rates
COMBINATIONS: tuple[tuple[str, str, str, tuple[str, ...]], ...] = (
    ("mp4", "libx264", "yuv420p yuvj420p yuv422p yuv444p yuv420p10le", ALL),
    ("mp4", "libx264 -bf 0 -g 5", "yuv420p", ALL),
    ("mp4", "libx264 -flags +ilme+ildct", "yuv420p", ("25",)),
    ("mp4", "libx264 -movflags frag_keyframe+empty_moov", "yuv420p", ALL),
    ("mp4", "libx265 -x265-params log-level=none", "yuv420p yuv420p10le", ALL),
    ("mp4", "mpeg4", "yuv420p", ALL),
    ("mp4", "libvpx-vp9 -deadline realtime -cpu-used 8", "yuv420p", ("25", "variable")),
    ("mp4", "libsvtav1 -preset 12", "yuv420p", ("25", "variable")),
    ("mov", "prores_ks", "yuv422p10le", ("25", "variable")),
    ("mov", "mjpeg", "yuvj420p", ("25", "variable")),
    ("mov", "qtrle", "rgb24 argb", ("25",)),
    ("mov", "png", "rgb24 rgba", ("25",)),
    ("mov", "rawvideo", "uyvy422", ("25",)),
    ("mkv", "libx264", "yuv420p yuv444p", ALL),
    ("mkv", "libx265 -x265-params log-level=none", "yuv420p", ("25", "variable")),
    ("mkv", "ffv1", "yuv420p yuv422p10le gray gray16le bgr0 gbrp16le", ("25", "variable")),
    ("mkv", "huffyuv", "yuv422p rgb24", ("25",)),
    ("mkv", "utvideo", "yuv420p", ("25",)),
    ("mkv", "mjpeg", "yuvj422p", ("25", "variable")),
    ("mkv", "mpeg2video", "yuv420p", ("25",)),
    ("mkv", "rawvideo", "yuv420p nv12 rgb24", ("25",)),
    ("webm", "libvpx -deadline realtime -cpu-used 8", "yuv420p yuva420p", ALL),
    ("webm", "libvpx-vp9 -deadline realtime -cpu-used 8", "yuv420p yuv444p", ALL),
    ("avi", "mpeg4 -bf 0", "yuv420p", CONSTANT),
    ("avi", "mjpeg", "yuvj420p", CONSTANT),
    ("avi", "libx264 -bf 0", "yuv420p", CONSTANT),
    ("avi", "huffyuv", "yuv422p", ("25",)),
    ("avi", "ffv1", "yuv420p", ("25",)),
    ("avi", "msmpeg4v2", "yuv420p", ("25",)),
    ("avi", "rawvideo", "yuv420p", ("25",)),
    ("ts", "libx264", "yuv420p", ALL),
    ("ts", "libx264 -flags +ilme+ildct", "yuv420p", ("25",)),
    ("ts", "libx265 -x265-params log-level=none", "yuv420p", ("25",)),
    ("ts", "mpeg2video", "yuv420p yuv422p", CONSTANT),
    ("mpg", "mpeg1video", "yuv420p", CONSTANT),
    ("mpg", "mpeg2video -flags +ilme+ildct", "yuv420p", CONSTANT),
    ("flv", "flv", "yuv420p", ("25", "variable")),
    ("flv", "libx264", "yuv420p", ("25", "variable")),
    ("wmv", "wmv2", "yuv420p", CONSTANT),
    ("asf", "msmpeg4", "yuv420p", ("25",)),
    ("ogv", "libtheora", "yuv420p", ("25",)),
    ("gif", "gif", "rgb8", ("25",)),
    ("apng", "apng", "rgb24", ("25",)),
    ("3gp", "h263", "yuv420p", ("29.97",)),
    ("3gp", "mpeg4", "yuv420p", ("25", "variable")),
    ("mxf", "mpeg2video", "yuv420p", ("25",)),
    ("dv", "dvvideo -s 720x576", "yuv420p", ("25",)),
    ("nut", "ffv1", "yuv420p", ("25",)),
    ("ivf", "libvpx -deadline realtime -cpu-used 8", "yuv420p", ("25",)),
    ("y4m", "wrapped_avframe", "yuv420p", CONSTANT),
)


@dataclass(frozen=True)
class Row:
    """One combination: what ffprobe sees in the file and what we do, frames and seconds from the first to the last."""

    container: str
    codec: str
    pixels: str
    rate: str
    theirs: tuple[int, float]
    ours: tuple[int, float]
    tick_s: float  # of the container's clock

    @property
    def holds(self) -> bool:
        return self.theirs[0] == self.ours[0] and abs(self.theirs[1] - self.ours[1]) <= self.tick_s


def combinations(only: str | None) -> Iterator[tuple[str, str, str, str]]:
    for container, codec, pixel_formats, rates in COMBINATIONS:
        if only in (None, container):
            for pixels in pixel_formats.split():
                for rate in rates:
                    yield container, codec, pixels, rate


def written(path: Path, codec: str, pixels: str, rate: str) -> bool:
    """Whether ffmpeg could write the clip."""
    source = ["-f", "lavfi", "-i", f"testsrc2=size=176x144:rate=30:duration={SECONDS}"]
    options = [*RATES[rate], "-c:v", *codec.split(), "-pix_fmt", pixels, "-strict", "-1"]
    command = ["ffmpeg", "-v", "error", "-nostdin", "-y", *source, *options, str(path)]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def probed(path: Path) -> tuple[list[float | None], float]:
    """The times of all frames, None where there is none, and the clock's tick, seconds, as ffprobe has them."""
    entries = "frame=best_effort_timestamp_time:stream=time_base"
    command = ["ffprobe", "-v", "error", "-select_streams", "v:0", "-show_entries", entries, "-of", "json", str(path)]
    found = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    stamps = [frame.get("best_effort_timestamp_time") for frame in found["frames"]]
    up, down = found["streams"][0]["time_base"].split("/")
    return [None if stamp is None else float(stamp) for stamp in stamps], int(up) / int(down)


def read(path: Path) -> list[float]:
    """The times of all frames, as we read them."""
    try:
        with open_source(str(path)) as source:
            return [frame.time_s for frame in source]
    except EdgeTrackerError as error:
        print(f"video_matrix: {error}", file=sys.stderr)
        return []


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", metavar="CONTAINER", help="one container's rows")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="write the clips here and keep them")
    args = parser.parse_args(argv)
    for tool in ("ffmpeg", "ffprobe"):
        if shutil.which(tool) is None:
            print(f"video_matrix: {tool} is not installed", file=sys.stderr)
            return 2
    with tempfile.TemporaryDirectory() as folder:
        rows, failed = measure(args.keep or Path(folder), args.only)
    print("| container | codec | pixels | rate | frames | last, s | ffprobe's |\n|---|---|---|---|---|---|---|")
    for row in rows:
        same = "same" if row.holds else f"**{row.theirs[0]}, {row.theirs[1]:.4f}**"
        codec = row.codec.split(" -deadline")[0].split(" -x265")[0].split(" -preset")[0]
        print(f"| {row.container} | {codec} | {row.pixels} | {row.rate} | {row.ours[0]} | {row.ours[1]:.4f} | {same} |")
    print(f"\n{sum(row.holds for row in rows)} of {len(rows)} combinations as ffprobe has them.")
    if failed:
        print(f"Not written by this ffmpeg: {'; '.join(failed)}.")
    return 0 if rows and all(row.holds for row in rows) else 1


def measure(folder: Path, only: str | None) -> tuple[list[Row], list[str]]:
    rows, failed = [], []
    for number, (container, codec, pixels, rate) in enumerate(combinations(only)):
        path = folder / f"{number:03d}.{container}"
        if not written(path, codec, pixels, rate):
            failed.append(f"{container} {codec.split()[0]} {pixels} {rate}")
            continue
        (theirs, tick_s), ours = probed(path), read(path)
        # The last frames of an AVI or MPEG-1 stream may have no time of their own.
        timed = [index for index, stamp in enumerate(theirs) if stamp is not None and index < len(ours)]
        first_s, last_s = (theirs[timed[0]], theirs[timed[-1]]) if timed else (None, None)
        at_s = ours[timed[-1]] if timed else -1.0
        their_s = last_s - first_s if last_s is not None and first_s is not None else -2.0
        row = Row(container, codec, pixels, rate, (len(theirs), their_s), (len(ours), at_s), max(tick_s, 1e-4))
        rows.append(row)
    return rows, failed


if __name__ == "__main__":
    sys.exit(main())
