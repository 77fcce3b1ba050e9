"""Fetch a model's official weights, verify them and convert them: `python converters/downloads.py mobilenetv3-small`.

The package itself opens no connection; this script does, to the address of the model in OFFICIAL and no other.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import importlib.util
import socket
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a script from any folder

from edge_tracker.backbones.cards import sha256_of
from edge_tracker.backbones.catalogue import entry_of, user_cache
from edge_tracker.errors import EdgeTrackerError, ModelError, first_line
from edge_tracker.files import whole_file

TIMEOUT_S = 30.0
NEEDED = ("torch", "onnx", "onnxscript")  # for the conversion; asked for before anything is fetched


@dataclass(frozen=True)
class Weights:
    """Where official weights are, and how to know them."""

    url: str
    sha256: str  # hex digits, as many as are known: torchvision puts the first 8 into its file names
    bytes: int | None = None

    @property
    def name(self) -> str:
        return self.url.rsplit("/", 1)[1]

    def describe(self, path: Path) -> bool:
        """True if the file at `path` is what they should be."""
        return self.bytes in (None, path.stat().st_size) and sha256_of(path).startswith(self.sha256)


_TORCHVISION = "https://download.pytorch.org/models/"
OFFICIAL = {
    "mobilenetv3-small": Weights(
        _TORCHVISION + "mobilenet_v3_small-047dcff4.pth",
        "047dcff4addef86ea5bc2eff13c9614dc11f47ab1160d0a71a25e7db994f4e1f",
        10_306_551,
    ),
    "mobilenetv3-large": Weights(_TORCHVISION + "mobilenet_v3_large-8738ca79.pth", "8738ca79"),
    "vgg16": Weights(
        _TORCHVISION + "vgg16-397923af.pth",
        "397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0",
        553_433_881,
    ),
}


def fetch(weights: Weights, folder: Path) -> Path:
    """The file of `weights` in `folder`: what lies there, if it is whole, else fetched.

    Raises ModelError: no network, a server that answers nonsense, another file than expected; OutputError.
    """
    path = folder / weights.name
    if path.is_file():
        if weights.describe(path):
            return path
        print(f"downloads: {path} is not what it was: fetching it again", file=sys.stderr)
    import torch

    try:
        folder.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as aside, _timeout(TIMEOUT_S):
            torch.hub.download_url_to_file(weights.url, str(aside), weights.sha256, progress=sys.stderr.isatty())
            if not weights.describe(aside):
                raise ModelError(f"{weights.url}: {aside.stat().st_size} bytes, expected {weights.bytes}")
    except EdgeTrackerError as error:
        if isinstance(error.__cause__, OSError) and not isinstance(error, ModelError):
            raise ModelError(_unreachable(weights, error.__cause__)) from error
        raise
    except (OSError, RuntimeError, ValueError, http.client.HTTPException) as error:
        raise ModelError(_unreachable(weights, error)) from error
    return path


def _unreachable(weights: Weights, error: BaseException) -> str:
    reason = first_line(error) if isinstance(error, Exception) else type(error).__name__
    return (
        f"cannot fetch {weights.url}: {reason}. Without a network, bring the file and convert it with "
        "converters/to_onnx.py --weights FILE"
    )


@contextlib.contextmanager
def _timeout(seconds: float) -> Iterator[None]:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def pull(name: str, models_dir: Path | None = None) -> Path:
    """Fetch the weights of model `name` into the user's cache, and convert them into `models_dir` (default: the cache).

    Returns the model file. Raises ModelError or OutputError.
    """
    entry = entry_of(name)
    if name not in OFFICIAL:
        raise ModelError(f"{name} has no official download; to get it: {entry.how_to_get}")
    missing = [package for package in NEEDED if importlib.util.find_spec(package) is None]
    if missing:
        raise ModelError(f"the conversion needs {', '.join(missing)}: pip install -e '.[convert-onnx]'")
    cache = user_cache()
    folder = models_dir or cache
    if cache is None or folder is None:
        raise ModelError("there is no home to keep weights in: set XDG_CACHE_HOME")
    weights = fetch(OFFICIAL[name], cache / "weights")
    folder.mkdir(parents=True, exist_ok=True)
    from converters import to_onnx

    model = folder / entry.file
    if to_onnx.main(["--model", name, "--weights", str(weights), "--output", str(model)]) != 0:
        raise ModelError(f"{weights} was fetched and verified, but not converted")
    return model


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=sorted(OFFICIAL), help="which model")
    parser.add_argument("--models-dir", type=Path, metavar="DIR", help="where to put it (default: the user's cache)")
    args = parser.parse_args(argv)
    try:
        print(pull(args.name, args.models_dir))
    except (EdgeTrackerError, OSError) as error:
        print(f"downloads: {first_line(error)}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
