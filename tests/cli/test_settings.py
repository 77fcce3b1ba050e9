"""`edge-track settings` lists what `--set` takes: every setting, with a default that can be typed back."""

from __future__ import annotations

import re

import pytest

from edge_tracker.cli import main
from edge_tracker.methods import METHODS
from edge_tracker.settings import assign, names_of

LISTED = re.compile(r"^  ([\w.]+) = ([^ (]+)", re.MULTILINE)


@pytest.mark.parametrize("tracker", METHODS)
def test_every_setting_of_a_tracker_is_listed_with_its_default(
    tracker: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["settings", "--tracker", tracker]) == 0
    listed = dict(LISTED.findall(capsys.readouterr().out))
    config = METHODS[tracker].config
    assert set(listed) == set(names_of(type(config)))
    assert assign(config, [f"{name}={value}" for name, value in listed.items()]) == config


def test_all_trackers_are_listed_and_where_their_defaults_differ(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["settings"]) == 0
    text = capsys.readouterr().out
    for tracker in METHODS:
        assert re.search(rf"^Settings of .*\b{tracker}\b", text, re.MULTILINE)
    accurate, fast = (METHODS[name].config.box.every for name in ("accurate", "fast"))
    assert accurate != fast
    assert f"box.every = {accurate} (fast: {fast})\n      frames between two corrections" in text
    assert "a whole number between 1 and 10000" in text


def test_a_tracker_that_does_not_exist_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["settings", "--tracker", "fastt"])
    assert left.value.code == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
