"""Files that are written aside and renamed when they are whole."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole_file(path: Path, keep: bool = False) -> Iterator[Path]:
    """Yield the path to write to; rename on success, remove on an exception (keep: leave it)."""
    partial = path.with_name(f"{path.stem}.partial{path.suffix}")
    try:
        yield partial
    except BaseException:
        if not keep:
            partial.unlink(missing_ok=True)
        raise
    partial.replace(path)
