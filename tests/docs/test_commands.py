"""What README and docs/ print can be typed: commands parse; options, settings, files and links exist."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.docs.commands import FAILED, commands, documents, help_of, problem, problems, script_of, this_checkout

# What runs in a fresh checkout: no footage, no network, no other models.
RUNNABLE = (("demo",), ("models", "list"), ("doctor",), ("settings",))


@pytest.mark.parametrize("document", documents(), ids=lambda path: path.name)
def test_commands_settings_and_links_are_up_to_date(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    assert problems(text, document.parent) == []
    if unread := scripts_that_cannot_be_asked(text):
        pytest.skip(f"all else is right, but these need a package that is not installed: {', '.join(unread)}")


def scripts_that_cannot_be_asked(text: str) -> list[str]:
    """Those that a document calls and that need a package that is not installed here."""
    scripts = {script_of(c)[0] for c in commands(text) if c.words[0] != "edge-track"}
    return sorted(script for script in scripts if script and (ROOT / script).exists() and help_of(script) is None)


def test_the_readme_prints_a_command_of_every_kind() -> None:
    found = list(commands((ROOT / "README.md").read_text(encoding="utf-8")))
    assert sum(command.fenced and command.words[0] == "edge-track" for command in found) >= 5
    everywhere = [c for path in documents() for c in commands(path.read_text(encoding="utf-8"))]
    assert sum(c.fenced and len(c.words) > 1 and c.words[1].startswith("scripts/") for c in everywhere) >= 5
    assert sum(c.fenced and len(c.words) > 1 and c.words[1].startswith("converters/") for c in everywhere) >= 3


@pytest.mark.parametrize(
    "stale",
    [
        "```sh\nedge-track --source clip.mp4 --init 1,2,30,40 --jsonl out.jsonl\n```",  # an option that went
        "```sh\nedge-track --source clip.mp4 --init 1,2,30\n```",  # a value that is refused
        "```sh\nedge-track follow --source clip.mp4\n```",  # a command that is none
        "```sh\nedge-track models fetch edge-small\n```",  # an action that is none
        "```sh\n.venv/bin/edge-track eval --out results\n```",  # a required option left out
        "```sh\nfor s in 0 1; do edge-track eval --data OTB --out r/$s --sed $s; done\n```",
        "```sh\ncd somewhere && edge-track doctor --benchmark\n```",
        "1. In a list:\n\n   ```sh\n   edge-track doctor --benchmark\n   ```\n",
        "```sh\nedge-track --source a.mp4 --init 1,2,3,4 \\\n  --trakcer fast\n```",
        "```sh\nedge-track --source a.mp4 --init 1,2,3,4 --set belief.lost_later=8\n```",
        "```sh\nedge-track --source a.mp4 --init 1,2,3,4 --tracker fmst --set belief.found_above=0.7\n```",
        "Lower it with `--set belief.lost_later=8`.",
        "The setting `belief.lost_later` is new.",
        "See `edge-track doctor --benchmark`.",
        "```sh\npython scripts/bench.py --date OTB_DIR\n```",
        "```sh\ntflite/bin/python converters/to_onnx.py --modle edge-small\n```",
        "```sh\npython -m calibration --frame clips/\n```",
        "```sh\npython scripts/no_such_script.py\n```",
        "Run `python scripts/no_such_script.py`.",
        "```sh\nscripts/release.sh --output dist\n```",
        "The code is in `edge_tracker/dcf/`.",
        "Two filters (`place_map.py`).",
        "[a document that went](docs/dcf.md)",
        "[a heading that went](README.md#no-such-heading)",
    ],
)
def test_a_stale_command_setting_or_link_is_found(stale: str) -> None:
    if unread := scripts_that_cannot_be_asked(stale):
        pytest.skip(f"needs a package that is not installed: {', '.join(unread)}")
    found = problems(stale, ROOT)
    assert found
    assert not found[0].startswith(FAILED)


def test_an_option_misspelled_in_any_printed_command_is_found() -> None:
    for document in documents():
        for command in commands(document.read_text(encoding="utf-8")):
            options = [word for word in command.words if word.startswith("--")]
            script = script_of(command)[0] if command.words[0] != "edge-track" else None
            if options and (script is None or help_of(script) is not None):
                words = tuple(f"{word}-x" if word == options[-1] else word for word in command.words)
                assert problem(command._replace(words=words)), words


def test_documents_that_code_names_exist() -> None:
    for room in ("edge_tracker", "converters", "calibration", "scripts"):
        for path in sorted((ROOT / room).rglob("*.py")):
            for name in re.findall(r"docs/[a-z-]+\.md", path.read_text(encoding="utf-8")):
                assert (ROOT / name).exists(), f"{path.relative_to(ROOT)} names {name}"


@pytest.mark.parametrize("arguments", RUNNABLE, ids=" ".join)
def test_a_printed_command_that_needs_no_footage_runs(arguments: tuple[str, ...], tmp_path: Path) -> None:
    printed = [c for path in documents() for c in commands(path.read_text(encoding="utf-8")) if c.fenced]
    assert any(command.words == ("edge-track", *arguments) for command in printed), "no document prints it"
    called = [sys.executable, "-m", "edge_tracker", *arguments]
    done = subprocess.run(called, cwd=tmp_path, env=this_checkout(), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    if arguments == ("demo",):
        written = {path.name for path in (tmp_path / "edge-track-demo").iterdir()}
        assert written == {"demo.mp4", "demo.jsonl", "demo.png"}
    else:
        assert len(done.stdout.splitlines()) > 5
