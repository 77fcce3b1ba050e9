"""Sources: files, folders, globs, and all that is none."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_tracker.errors import SourceError, SourceLost
from edge_tracker.video import open_source
from edge_tracker.video.cut_short import cut_short
from edge_tracker.video.open import is_live, is_local
from tests.conftest import Clip, write_no_video, write_video
from tests.footage import Bench


def test_a_video_gives_its_frames_in_order(video: Path, clip: Clip) -> None:
    with open_source(str(video)) as source:
        assert source.length == 30
        assert source.fps == pytest.approx(25)
        frames = list(source)
    assert [f.index for f in frames] == list(range(30))
    np.testing.assert_allclose([f.time_s for f in frames], np.arange(30) / 25, atol=1e-3)
    assert np.abs(frames[7].image.astype(int) - clip.images[7]).mean() < 12  # the codec is lossy


def test_an_image_folder_and_a_glob_give_the_same(otb_folder: Path) -> None:
    folder = otb_folder / "Alpha" / "img"
    (by_folder, by_glob) = (list(open_source(str(spec))) for spec in (folder, folder / "*.png"))
    assert len(by_folder) == 12
    assert by_folder[3].time_s == pytest.approx(0.1)
    for a, b in zip(by_folder, by_glob, strict=True):
        np.testing.assert_array_equal(a.image, b.image)


def test_a_single_image_is_a_source(otb_folder: Path) -> None:
    assert len(list(open_source(str(otb_folder / "Alpha" / "img" / "0001.png")))) == 1


@pytest.mark.parametrize("kind", ["missing", "text", "empty file", "empty folder", "noise", "cut before its index"])
def test_what_is_no_source_is_refused(kind: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "fake.mp4"
    write_no_video(path, kind)
    with pytest.raises(SourceError) as caught:
        list(open_source(str(path)))
    assert str(path) in str(caught.value)
    if path.is_file():
        assert "cannot open" in str(caught.value)
    assert capfd.readouterr().err == ""  # the decoder's own chatter stays out of the user's sight


def test_a_file_whose_name_is_a_number_is_no_camera(
    video: Path, otb_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(video, "0")
    shutil.copytree(otb_folder / "Alpha" / "img", "1")
    (tmp_path / "1" / "0003.x.png").mkdir()
    assert [len(list(open_source(name))) for name in ("0", "1")] == [30, 12]
    assert [is_live(name) or is_local(name) for name in ("0", "1", "2")] == [False, False, True]


def test_a_glob_of_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no image matches") as caught:
        open_source(str(tmp_path / "*.jpg"))
    assert str(tmp_path) in str(caught.value)


def test_a_folder_with_a_broken_image_gives_the_images_before_it(otb_folder: Path, tmp_path: Path) -> None:
    for number in (1, 2):
        image = cv2.imread(str(otb_folder / "Alpha" / "img" / f"{number:04d}.png"))
        cv2.imwrite(str(tmp_path / f"{number}.png"), image)
    (tmp_path / "3.png").write_bytes(b"no png")
    seen = []
    with pytest.raises(SourceError, match=r"3\.png"):
        for frame in open_source(str(tmp_path)):
            seen.append(frame.index)
    assert seen == [0, 1]


def truncated(tmp_path: Path, clip: Clip, share: float) -> Path:
    whole = tmp_path / "whole.avi"
    write_video(whole, clip.images[:60], "MJPG")
    data = whole.read_bytes()
    path = tmp_path / "cut.avi"
    path.write_bytes(data[: int(len(data) * share)])
    return path


def test_a_truncated_video_gives_what_is_there_and_then_says_so(tmp_path: Path, clip: Clip) -> None:
    seen = 0
    with open_source(str(truncated(tmp_path, clip, 0.5))) as source, pytest.raises(SourceError, match="truncated"):
        for _ in source:
            seen += 1
    assert 20 <= seen < 40


@pytest.mark.parametrize("suffix", ["avi", "mp4", "mov", "mkv", "webm"])
def test_every_container_that_states_its_size_is_known_to_be_cut(suffix: str, bench: Bench) -> None:
    codec = {"webm": "-c:v libvpx -deadline realtime", "avi": "-c:v mjpeg -q:v 3"}.get(suffix, "-c:v libx264")
    faststart = "-movflags +faststart " if suffix in ("mp4", "mov") else ""
    bench.ffmpeg(f"-i base.mp4 {codec} {faststart}whole.{suffix}")
    path = bench.folder / f"whole.{suffix}"
    assert not cut_short(path)
    data = path.read_bytes()
    for share in (0.6, 0.95):
        path.write_bytes(data[: int(len(data) * share)])
        assert cut_short(path)
        run = bench.track(path)
        assert (run.code, run.partial) == (2, True)
        assert "truncated" in run.errors[-1]
        assert 5 < len(run.lines) < 60


def test_a_camera_that_is_not_there_is_refused() -> None:
    for index in (-1, 63):
        with pytest.raises(SourceError):
            open_source(f"camera:{index}")


class FakeCapture:
    """A camera that gives three frames and is then pulled out."""

    def __init__(self, *_: object) -> None:
        self.left = 3
        self.released = False

    def isOpened(self) -> bool:  # noqa: N802 - OpenCV's name
        return True

    def get(self, _: int) -> float:
        return 0.0  # most cameras state neither rate nor length

    def read(self) -> tuple[bool, np.ndarray | None]:
        self.left -= 1
        return (True, np.zeros((4, 6, 3), np.uint8)) if self.left >= 0 else (False, None)

    def release(self) -> None:
        self.released = True


def test_a_camera_that_vanishes_is_an_error_after_its_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cv2, "VideoCapture", FakeCapture)
    frames = []
    with open_source("camera:0") as source, pytest.raises(SourceLost, match="stopped after 3 frames"):
        assert source.live
        assert source.length is None
        for frame in source:
            frames.append(frame)
    assert [f.index for f in frames] == [0, 1, 2]
    assert 0 == frames[0].time_s < frames[1].time_s < frames[2].time_s
    assert source._capture.released  # type: ignore[attr-defined]
