"""The errors this package raises on purpose. Each message says what was wrong and what to do, in one line."""


class EdgeTrackerError(Exception):
    """Base of all errors of this package; the command line prints it as one line and exits with 2."""


class ConfigError(EdgeTrackerError, ValueError):
    """A setting is out of its range."""


class BoxError(EdgeTrackerError, ValueError):
    """A box is not four finite numbers with a positive size that overlap the image."""


class ImageError(EdgeTrackerError, ValueError):
    """An image is not uint8 with one, three or four channels."""


class ModelError(EdgeTrackerError):
    """A model or weights file is missing, broken, or not what was asked for."""


class SourceError(EdgeTrackerError):
    """A video, image folder or camera cannot be opened or stopped delivering."""


class OutputError(EdgeTrackerError):
    """A result file cannot be written."""


class DatasetError(EdgeTrackerError):
    """A folder of sequences is missing, empty or has unreadable ground truth."""


def first_line(error: Exception) -> str:
    """What an error of a library says, for a message of one line."""
    return str(error).splitlines()[0] if str(error) else type(error).__name__
