"""What a file is that was taken for a video, an image or a model: the cause of an error in the user's terms."""

from __future__ import annotations

import re
from pathlib import Path

from edge_tracker.errors import first_line

HEAD_BYTES = 1024


def why_no_model(path: Path, error: Exception) -> str:
    """Why `path` cannot be loaded as a model, in the user's terms where the cause is recognised."""
    reason = mistaken(path)
    if reason is None and "external" in str(error):
        reason = "it keeps its weights as external data in another file, and models here are one file: save it as one"
    return reason or first_line(error)


def mistaken(path: Path) -> str | None:
    """What `path` is instead of what its name says and what to do about it, None where nothing is recognised.

    Looks at the first bytes only, and runs nothing of them.
    """
    try:
        if not path.is_file():
            return None
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
    except OSError as error:
        return f"it cannot be read: {error.strerror or error}"
    if not head:
        return "it is empty"
    if head.startswith(b"version https://git-lfs"):
        return "it is a Git LFS pointer, not the file itself: fetch that with `git lfs pull`"
    text = head.decode("utf-8", "replace").lstrip("\ufeff \t\r\n").lower()
    if re.match(r"<!doctype html|<html|<head|<\?xml[^>]*>\s*(<!doctype html|<html)", text):
        return "it is a web page: the download gave a page (a login, an error) instead of the file"
    if re.match(r"<\?xml|<error", text):
        return "it is an XML text, perhaps a server's error message instead of the file"
    if re.match(r'\{\s*"(error|message|detail|status)', text):
        return "it is a server's error message instead of the file"
    if re.match(rb"\x80[\x02-\x05]", head):
        return "it is a Python pickle, which can run any program and is never opened here"
    if head.startswith(b"PK\x03\x04"):
        if b"data.pkl" in head or b"/version" in head:
            return "it is a PyTorch checkpoint, not a model that can be run: convert it first"
        return "it is a ZIP archive: unpack it first"
    if head.startswith(b"\x1f\x8b"):
        return "it is compressed with gzip: unpack it first"
    if head.startswith((b"7z\xbc\xaf\x27\x1c", b"Rar!")):
        return "it is an archive: unpack it first"
    if head.startswith(b"\x89HDF"):
        return "it is an HDF5 file"
    if head.startswith(b"\x93NUMPY"):
        return "it is a NumPy array"
    if head.startswith(b"%PDF"):
        return "it is a PDF document"
    if not any(head):
        return "it begins with zeros: the copy was not finished, or the disk is damaged"
    return None
