"""Whole files: what is no regular file is written, not replaced."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_tracker.errors import OutputError
from edge_tracker.files import read_text, write_text


def test_a_device_is_written_and_stays(tmp_path: Path) -> None:
    link = tmp_path / "nowhere.json"
    link.symlink_to("/dev/null")
    write_text(link, "text")
    assert link.is_symlink()
    assert list(tmp_path.iterdir()) == [link]


def test_a_file_that_a_shell_has_opened_is_written_and_stays(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    with path.open("w") as stream:
        write_text(Path(f"/dev/fd/{stream.fileno()}"), "text")
    assert path.read_text() == "text"


@pytest.mark.parametrize("name", [".", "..", "/", "{}"])
def test_a_folder_is_not_written(name: str, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="it is a folder"):
        write_text(Path(name.format(tmp_path)), "text")


def test_no_more_is_read_than_was_said() -> None:
    with pytest.raises(ValueError, match="too large"):
        read_text(Path("/dev/zero"), 1000)
