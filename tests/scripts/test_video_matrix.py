"""The matrix of containers: it agrees with ffprobe, and would see it if we did not."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from scripts import video_matrix

pytestmark = pytest.mark.skipif(shutil.which("ffprobe") is None, reason="ffmpeg and ffprobe are not installed")


def test_every_combination_of_some_containers_is_as_ffprobe_has_it(tmp_path: Path) -> None:
    for container in ("flv", "nut", "3gp"):
        rows, _ = video_matrix.measure(tmp_path, container)
        assert rows
        assert all(row.holds for row in rows), rows


def test_a_frame_less_or_a_wrong_time_is_seen(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    read = video_matrix.read
    for wrong in (lambda path: read(path)[:-1], lambda path: [1.01 * time for time in read(path)]):
        monkeypatch.setattr(video_matrix, "read", wrong)
        assert video_matrix.main(["--only", "nut"]) == 1
        assert "0 of 1 combinations" in capsys.readouterr().out


def test_there_are_enough_combinations() -> None:
    assert len(list(video_matrix.combinations(None))) >= 60
