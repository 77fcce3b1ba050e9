"""What an output is, and the rule of partial files."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from edge_tracker.errors import OutputError
from edge_tracker.files import whole_file, written_directly
from edge_tracker.track import Track
from edge_tracker.video.source import Frame


class Output(Protocol):
    """Takes every frame with the tracks in it, in order."""

    def write(self, frame: Frame, tracks: Sequence[Track]) -> None:
        """Raises OutputError where the tracks could not be kept, OutputLost where a receiver is away for now."""

    def close(self, complete: bool) -> None:
        """End the output. Only a complete one gets its own name; the rest stays readable as `<stem>.partial<suffix>`.

        Raises OutputError. May be called more than once.
        """


class ResultFile:
    """A file that is written as `<stem>.partial<suffix>` and gets its name when it is whole.

    What `written_directly` says is written under its own name, behind what is there.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.parent.is_dir():
            raise OutputError(f"cannot write {shown(path)}: there is no folder {shown(path.parent)}")
        self._whole: AbstractContextManager[Path] | None = None
        self.partial = path
        self.mode = "a"
        if not written_directly(path):
            self.mode = "w"
            self._whole = whole_file(path, keep=True)
            self.partial = self._whole.__enter__()

    def finish(self, complete: bool, empty: bool = False) -> None:
        """Give it its name if it is complete; leave nothing behind where nothing was written. Raises OutputError."""
        whole, self._whole = self._whole, None
        if whole is None:
            return
        if empty:
            self.partial.unlink(missing_ok=True)
        if complete and not empty:
            whole.__exit__(None, None, None)
            return
        broken_off = _BrokenOffError()
        with contextlib.suppress(_BrokenOffError):
            whole.__exit__(_BrokenOffError, broken_off, None)


class _BrokenOffError(Exception):
    """Tells `whole_file` that what was written is not whole."""


def shown(path: Path) -> str:
    """A name that can be printed, whatever bytes it holds."""
    return str(path).encode("utf-8", "backslashreplace").decode()


def cannot_write(path: Path | str, error: OSError) -> OutputError:
    return OutputError(f"cannot write {shown(Path(path))}: {error.strerror or error}")
