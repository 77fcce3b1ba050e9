"""Files that appear under their name only when they are whole."""

from __future__ import annotations

import contextlib
import errno
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path

from edge_tracker.errors import FileError, OutputError, first_line


def partial_path(path: Path) -> Path:
    """Where `path` is written until it is whole: `<stem>.partial<suffix>` beside it."""
    return path.with_name(f"{path.stem}.partial{path.suffix}")


def written_directly(path: Path) -> bool:
    """Whether no other file can take the place of what is at `path`: a pipe, a device, or a file that a shell has
    opened for us (/dev/stdout, /dev/fd/3)."""
    if not path.exists():
        return False
    folder = os.path.realpath(path.parent)
    return not (path.is_file() or path.is_dir()) or folder == "/dev" or folder.startswith("/proc/")


def read_text(path: Path, most: int) -> str:
    """The UTF-8 text of a file of up to `most` bytes. Raises OSError, ValueError."""
    with path.open("rb") as file:
        data = file.read(most + 1)  # of a device there is no size to ask for
    if len(data) > most:
        raise ValueError("it is too large")
    return data.decode("utf-8-sig")


@contextlib.contextmanager
def whole_file(path: Path, keep: bool = False) -> Iterator[Path]:
    """Write a file aside and rename it: the body writes to the path it is given.

    Where the body raises, nothing is left (keep: what was written stays aside) and an older file at `path` stays as it
    was. What is `written_directly` is given to the body itself. Raises OutputError for what the operating system
    refuses.
    """
    aside = path
    try:
        if not written_directly(path):
            if path.is_dir():  # also what has no name to write beside: ".", "/"
                raise IsADirectoryError(errno.EISDIR, "it is a folder")
            aside = partial_path(path)
        yield aside
        if aside != path:
            aside.replace(path)
    except BaseException as error:
        if not keep and aside != path:
            with contextlib.suppress(OSError):
                aside.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise OutputError(f"cannot write {path}: {error.strerror or first_line(error)}") from error
        raise


def check_archive(path: Path, ratio: float = 4.0) -> None:
    """Raise FileError where a ZIP archive (.npz, .pt) would inflate to more than `ratio` times its size: numbers hardly
    shrink, so that is no honest file. What is no archive passes. Raises OSError, zipfile.BadZipFile."""
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as archive:
        inflated = sum(member.file_size for member in archive.infolist())
    if inflated > ratio * path.stat().st_size + (1 << 20):
        raise FileError(f"{path} would inflate to {inflated} bytes")


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8, whole or not at all. Raises OutputError."""
    with whole_file(path) as aside:
        aside.write_text(text, encoding="utf-8")


def write_bytes(path: Path, data: bytes) -> None:
    """Write `data`, whole or not at all. Raises OutputError."""
    with whole_file(path) as aside:
        aside.write_bytes(data)
