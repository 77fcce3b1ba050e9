"""The errors this package raises on purpose, grouped by what the caller can do.

    EdgeTrackerError      base; the command line prints it as one line and exits with 2
      UsageError          ask the user: a setting, box, image, path or name is wrong
      TransientError      try again: a camera, stream or broker has gone away
      FileError           a file is not what it says it is: replace it

Each message says what was wrong and what to do, in one line.
"""

import contextlib
from collections.abc import Iterator

LONGEST_REASON = 500  # characters; what is wrong with a file may quote all of it


class EdgeTrackerError(Exception):
    """Base of all errors of this package."""


class UsageError(EdgeTrackerError):
    """What was asked for cannot be done; the same call will fail again."""


class TransientError(EdgeTrackerError):
    """Something outside has gone away; the same call may succeed later."""


class FileError(EdgeTrackerError):
    """A file is missing, broken, or not what it claims to be."""


class ConfigError(UsageError, ValueError):
    """A setting has the wrong type, is out of its range, or does not exist."""


class BoxError(UsageError, ValueError):
    """A box is not four finite numbers with a positive size that overlap the image."""


class ImageError(UsageError, ValueError):
    """An image is not uint8 with one, three or four channels."""


class SourceError(EdgeTrackerError):
    """A video, image folder, stream or camera delivers no frame."""


class SourceMissing(SourceError, UsageError):
    """There is no such source, or nothing in it can be decoded."""


class SourceLost(SourceError, TransientError):
    """A source that delivered frames has stopped, or does not answer at the moment."""


class OutputError(UsageError):
    """A result cannot be written."""


class OutputLost(OutputError, TransientError):
    """A network output is away at the moment."""


class ModelError(FileError):
    """A model, head or weights file is missing, broken, or not what was asked for."""


class DatasetError(FileError):
    """A folder of sequences is missing, empty or has unreadable ground truth."""


@contextlib.contextmanager
def refused(kind: type[EdgeTrackerError], what: str) -> Iterator[None]:
    """What the operating system refuses inside (a folder not to be entered, a name too long) is raised as `kind`;
    `what` could not be done."""
    try:
        yield
    except OSError as error:
        raise kind(f"{what}: {error.strerror or first_line(error)}") from error


def one_line(text: str) -> str:
    """`text` with what cannot be printed in a line, as in names of files, written as escapes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def first_line(error: Exception) -> str:
    """What an error of a library says, for a message of one line."""
    if isinstance(error, UnicodeDecodeError):
        return "it is no text in UTF-8"
    text = str(error).strip()
    return text.splitlines()[0][:LONGEST_REASON] if text else type(error).__name__
