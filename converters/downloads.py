"""Fetch official weights, verify them, and convert them where the converter is at hand."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

from tqdm import tqdm

from edge_tracker.backbones.catalogue import CatalogueEntry, Weights, sha256_of, user_cache
from edge_tracker.errors import ModelError

TIMEOUT_S = 30
CHUNK = 1 << 16


def pull(entry: CatalogueEntry, models_dir: Path | None = None) -> Path:
    """Download the weights of `entry` into the user's cache and convert them into `models_dir` (default: the cache).

    A broken download resumes where it stopped. Returns the model file. Raises ModelError: no official weights, no
    network, a wrong checksum, no converter.
    """
    if entry.weights is None:
        raise ModelError(f"{entry.name} has no official download; its source: {entry.source}")
    folder = models_dir or user_cache()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        weights = user_cache() / "weights" / entry.weights.url.rsplit("/", 1)[1]
        weights.parent.mkdir(parents=True, exist_ok=True)
        if not weights.is_file():
            download(entry.weights, weights)
    except OSError as error:
        raise ModelError(f"cannot keep {entry.name}: {error}") from error
    model = folder / entry.file
    convert = ["--model", entry.name, "--weights", str(weights), "--output", str(model)]
    if any(importlib.util.find_spec(package) is None for package in ("torch", "onnx", "converters")):
        raise ModelError(
            f"{weights} is downloaded and verified, but its conversion needs torch and a checkout of this project: "
            f"pip install -e '.[convert-onnx]', then python converters/to_onnx.py {' '.join(convert)}"
        )
    # In a process of its own: torch stays out of this one, and the arrow from converters/ points one way.
    result = subprocess.run([sys.executable, "-m", "converters.to_onnx", *convert], capture_output=True, text=True)
    if result.returncode != 0:
        raise ModelError((result.stderr.strip().splitlines() or ["the conversion failed"])[-1])
    return model


def download(weights: Weights, path: Path) -> None:
    """Download to `<path>.partial`, resuming what lies there, verify, rename. Shows progress on a terminal.

    Raises ModelError for a network that fails and for a file whose SHA-256 is not the one expected.
    """
    partial = path.with_name(path.name + ".partial")
    start = partial.stat().st_size if partial.exists() else 0
    request = urllib.request.Request(weights.url, headers={"Range": f"bytes={start}-"} if start else {})
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as response:
            if start and response.status != 206:  # the server sends everything again
                start = 0
            remaining = response.headers.get("Content-Length")
            total = start + int(remaining) if remaining else None
            with (
                partial.open("ab" if start else "wb") as file,
                tqdm(total=total, initial=start, unit="B", unit_scale=True, desc=path.name, disable=None) as progress,
            ):
                while block := response.read(CHUNK):
                    file.write(block)
                    progress.update(len(block))
        if total is not None and partial.stat().st_size < total:
            raise ModelError(f"the connection broke at {partial.stat().st_size} of {total} bytes; pull again to resume")
    except urllib.error.HTTPError as error:
        if error.code != 416:  # 416: nothing is left to send, the partial file is all there is
            raise ModelError(f"{weights.url}: the server answers {error.code} {error.reason}") from error
    except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
        reason = getattr(error, "reason", error)
        raise ModelError(
            f"cannot reach {weights.url}: {reason}. Without a network, fetch the file elsewhere and convert it with "
            f"converters/to_onnx.py --weights FILE"
        ) from error
    found = sha256_of(partial)
    if not found.startswith(weights.sha256_prefix):
        partial.unlink()
        raise ModelError(f"{weights.url}: SHA-256 {found[:8]}..., expected {weights.sha256_prefix}...: deleted")
    partial.replace(path)
