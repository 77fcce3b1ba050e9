"""`edge-track settings`: what it lists is what may be set, and the values are those in use."""

from __future__ import annotations

import re

import pytest

from edge_tracker.cli import main
from edge_tracker.methods import METHODS
from edge_tracker.settings import assign, names_of

LINE = re.compile(r"^  (\S+) = (\S+)  \((.+); (.+)\)$")


@pytest.mark.parametrize("tracker", METHODS)
def test_every_setting_is_listed_with_what_it_may_be_and_what_it_means(
    tracker: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["settings", "--tracker", tracker]) == 0
    first, *rest = capsys.readouterr().out.splitlines()
    assert first == f"{tracker}: {METHODS[tracker].summary}"
    config = METHODS[tracker].config
    found = {}
    off = []
    for line in rest:
        if match := LINE.match(line):
            name, value, allowed, meaning = match.groups()
            found[name] = value
            assert len(allowed) > 5
            assert len(meaning) > 5
        else:
            name, _ = line.strip().split(" is off: ")
            off.append(name)
    listed = [name for name in names_of(type(config)) if name.split(".")[0] not in off]
    assert list(found) == listed
    assert off == (["fine"] if tracker == "fast" else [])
    # What is printed can be typed back, and changes nothing.
    for name, value in found.items():
        if value != "0.333333":  # of 1 / 3
            assert assign(config, [f"{name}={value}"]) == config


def test_without_a_name_it_lists_all(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["settings"]) == 0
    said = capsys.readouterr().out
    for name in METHODS:
        assert f"\n{name}: " in f"\n{said}"
