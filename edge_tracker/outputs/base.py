"""What an output is, and the rule of partial files."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from edge_tracker.errors import OutputError
from edge_tracker.track import Track
from edge_tracker.video.sources import Frame


class Output(Protocol):
    """Takes every frame with its track, in order."""

    def write(self, frame: Frame, track: Track) -> None:
        """Raises OutputError where the track could not be kept."""

    def close(self, complete: bool) -> None:
        """End the output. Only a complete one gets its own name; the rest stays readable as `<stem>.partial<suffix>`.

        Raises OutputError. May be called more than once.
        """


class PartialFile:
    """A file that is written as `<stem>.partial<suffix>` and renamed when it is whole.

    A target that is no regular file (a pipe, /dev/stdout) is written directly.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.parent.is_dir():
            raise OutputError(f"cannot write {path}: there is no folder {path.parent}")
        if path.is_dir():
            raise OutputError(f"cannot write {path}: it is a folder")
        self.special = path.exists() and not path.is_file()
        self.partial = path if self.special else path.with_name(f"{path.stem}.partial{path.suffix}")

    def discard(self) -> None:
        """Leave nothing behind, where nothing was written."""
        if not self.special:
            self.partial.unlink(missing_ok=True)

    def finish(self, complete: bool) -> None:
        if not complete or self.special:
            return
        try:
            self.partial.replace(self.path)
        except OSError as error:
            raise cannot_write(self.path, error) from error


def cannot_write(path: Path, error: OSError) -> OutputError:
    return OutputError(f"cannot write {path}: {error.strerror or error}")
