"""Rendering scenes: how many processes do it does not matter; what is rendered more often is rendered anew."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="scripts/training.py needs torch (extra 'convert-onnx')")

import render_scenes as script


def run(otb_folder: Path, pictures: Path, folder: Path, *more: str) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    options = ["--data", str(otb_folder), "--photos", str(pictures / "photos"), "--masks", str(pictures / "masks")]
    options += ["--masks-video", str(pictures / "videos"), "--output", str(folder)]
    assert script.main([*options, *more]) == 0
    with np.load(folder / "scenes.npz") as truth:
        known = dict(truth)
    return np.load(folder / "patches.npy")[: len(known["box"])], known


def test_processes_change_nothing(rendered: Path, otb_folder: Path, pictures: Path, tmp_path: Path) -> None:
    patches, known = run(otb_folder, pictures, tmp_path, "--limit", "600", "--jobs", "2")
    with np.load(rendered / "scenes.npz") as truth:
        assert set(truth) == set(known)
        for name in known:
            np.testing.assert_array_equal(truth[name], known[name])
    np.testing.assert_array_equal(np.load(rendered / "patches.npy")[: len(patches)], patches)
    assert len(patches) > 100


def test_twice_are_other_views_of_the_same(
    rendered: Path, otb_folder: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(script, "SEQUENCES", 1)
    patches, known = run(otb_folder, pictures, tmp_path, "--limit", "900", "--times", "2")
    names, counts = np.unique(known["name"], return_counts=True)
    of = dict(zip(names.tolist(), counts.tolist(), strict=True))
    with np.load(rendered / "scenes.npz") as truth:
        once = {name: int((truth["name"] == name).sum()) for name in names}
    details = [name for name in once if name.startswith("photo ") and once[name]]
    assert details
    assert all(of[name] == 2 * once[name] == 2 * script.DETAILS for name in details)
    scene = np.flatnonzero(known["name"] == details[0])
    first, later = (patches[known["scene"] == scene[k]][0] for k in (0, script.DETAILS))
    assert (first != later).any()


def test_a_process_that_is_killed_is_told(
    otb_folder: Path,
    pictures: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(script.Sources, "video", lambda *_: os.kill(os.getpid(), signal.SIGKILL))
    options = ["--data", str(otb_folder), "--photos", str(pictures / "photos"), "--masks", str(pictures / "masks")]
    options += ["--masks-video", str(pictures / "videos"), "--output", str(tmp_path), "--limit", "600"]
    assert script.main(options) == 2
    assert "was killed" in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "scenes.npz").exists()
