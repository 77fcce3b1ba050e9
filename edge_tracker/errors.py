"""The errors this package raises on purpose. Each message says what was wrong and what to do, in one line."""


class EdgeTrackerError(Exception):
    """Base of all errors of this package; the command line prints it as one line and exits with 2."""


class UsageError(EdgeTrackerError):
    """Ask the user: what was asked for cannot be done as it stands."""


class TransientError(EdgeTrackerError):
    """Try again later: a stream or a receiver is away for now."""


class FileError(EdgeTrackerError):
    """A file is not what it should be."""


class ConfigError(UsageError, ValueError):
    """A setting is out of its range."""


class BoxError(UsageError, ValueError):
    """A box is not four finite numbers with a positive size that overlap the image."""


class ImageError(UsageError, ValueError):
    """An image is not uint8 with one, three or four channels."""


class ModelError(FileError):
    """A model or weights file is missing, broken, or not what was asked for."""


class SourceError(EdgeTrackerError):
    """A video, image folder or camera cannot be opened or stopped delivering."""


class SourceMissing(SourceError, UsageError):
    """There is no such source, or it cannot be read."""


class SourceLost(SourceError, TransientError):
    """A source that was there stopped delivering."""


class OutputError(UsageError):
    """A result cannot be written."""


class OutputLost(OutputError, TransientError):
    """A receiver of results is away for now."""


class DatasetError(FileError):
    """A folder of sequences is missing, empty or has unreadable ground truth."""


def first_line(error: Exception) -> str:
    """What an error of a library says, for a message of one line."""
    return str(error).splitlines()[0] if str(error) else type(error).__name__
