"""Whether a file was cut off, by the size that its container states of itself."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import IO

ISO_BOXES = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"styp", b"pnot")
EBML, SEGMENT = b"\x1aE\xdf\xa3", b"\x18S\x80g"


def cut_short(path: Path) -> bool:
    """Whether the file is shorter than its own outermost structure says.

    Known of ISO base media (MP4, MOV), RIFF (AVI) and EBML (Matroska, WebM); False for what states no size, or cannot
    be read. Counts of frames are not asked: they are often estimates.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(12)
            if head[:4] == b"RIFF":
                return _riff_end(head) > size + 1  # the last chunk's padding may lack
            if head[4:8] in ISO_BOXES:
                return _iso_end(file, size) > size
            if head[:4] == EBML:
                return _ebml_end(file, head) > size
    except (OSError, struct.error, ValueError):
        pass
    return False


def _riff_end(head: bytes) -> int:
    stated = int.from_bytes(head[4:8], "little")
    return 0 if stated == 0xFFFFFFFF else stated + 8  # a writer that could not go back leaves 0 or this


def _iso_end(file: IO[bytes], size: int) -> int:
    """Where the last box ends, or 0 where that is open (ISO/IEC 14496-12, 4.2)."""
    place = 0
    while place + 8 <= size:
        file.seek(place)
        length, kind = struct.unpack(">I4s", file.read(8))
        if length == 1:
            (length,) = struct.unpack(">Q", file.read(8))
        if length < 8 or not all(32 <= byte < 127 for byte in kind):
            return 0  # 0 reaches to the end of the file; else something was appended that is no box
        place += length
    return place


def _ebml_end(file: IO[bytes], head: bytes) -> int:
    """Where the segment ends, or 0 where its size is unknown (RFC 8794, section 6)."""
    length, width = _vint(head[4:])
    start = 4 + width + length
    file.seek(start)
    segment = file.read(12)
    if not segment.startswith(SEGMENT):
        return 0
    length, width = _vint(segment[4:])
    unknown = length == (1 << 7 * width) - 1
    return 0 if unknown else start + 4 + width + length


def _vint(data: bytes) -> tuple[int, int]:
    """An EBML number of variable width (RFC 8794, section 4): its value and how many bytes it takes."""
    if not data or data[0] == 0:
        raise ValueError("no EBML number")
    width = 9 - data[0].bit_length()
    return int.from_bytes(data[:width], "big") & ((1 << 7 * width) - 1), width
