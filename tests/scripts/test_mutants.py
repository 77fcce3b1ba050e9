"""The list of mutants applies to the source as it is. That each is held: `python scripts/mutants.py` (minutes)."""

from __future__ import annotations

import ast
from dataclasses import replace
from pathlib import Path

import pytest

from scripts import mutants
from scripts.mutants import ROOT, Mutant, verdict

MUTANTS = mutants.listed()


def test_a_mutant_changes_one_place_and_leaves_valid_code() -> None:
    sources = {file: (ROOT / file).read_text(encoding="utf-8") for file in {mutant.file for mutant in MUTANTS}}
    assert [m.name for m in MUTANTS if sources[m.file].count(m.old) != 1] == []
    before = {file: ast.dump(ast.parse(source)) for file, source in sources.items()}
    after = [ast.dump(ast.parse(sources[m.file].replace(m.old, m.new))) for m in MUTANTS]
    assert [m.name for m, tree in zip(MUTANTS, after, strict=True) if tree == before[m.file]] == []


def test_the_tests_it_names_are_there() -> None:
    missing = []
    for mutant in MUTANTS:
        for test in mutant.tests:
            path, _, name = test.partition("::")
            if name and f"def {name}(" not in (ROOT / path).read_text(encoding="utf-8"):
                missing.append((mutant.name, test))
    assert missing == []


def test_there_are_many_and_each_has_a_name_of_its_own() -> None:
    assert len(MUTANTS) >= 25
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)
    assert len({(mutant.file, mutant.old, mutant.new) for mutant in MUTANTS}) == len(MUTANTS)


def test_a_test_of_the_usual_file_is_named_for_short(tmp_path: Path) -> None:
    path = tmp_path / "list.toml"
    path.write_text("""["a.py"]\ntests = 't.py'\n"one" = ['x', 'y']\n"two" = ['x', 'z', '::test_a', 'u.py']\n""")
    assert mutants.listed(path) == (
        Mutant("one", "a.py", "x", "y", ("t.py",)),
        Mutant("two", "a.py", "x", "z", ("t.py::test_a", "u.py")),
    )


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A tree of one function and two tests, of which one holds it."""
    (tmp_path / "half.py").write_text("def half(x):\n    return x / 2\n")
    (tmp_path / "test_good.py").write_text("from half import half\ndef test_it():\n    assert half(4) == 2\n")
    (tmp_path / "test_poor.py").write_text("from half import half\ndef test_it():\n    half(4)\n")
    (tmp_path / "test_none.py").write_text("")
    return tmp_path


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({}, "held by test_it"),
        ({"tests": ("test_poor.py",)}, "SURVIVES"),
        ({"tests": ("test_none.py",)}, "no test ran"),
        ({"tests": ("test_missing.py",)}, "DOES NOT RUN"),
        ({"old": "x / 3"}, "STALE"),
    ],
    ids=str,
)
def test_what_survives_is_told_from_what_is_held(changes: dict[str, object], says: str, copy: Path) -> None:
    mutant = replace(Mutant("whole", "half.py", "x / 2", "x", ("test_good.py",)), **changes)  # type: ignore[arg-type]
    before = (copy / "half.py").read_text()
    assert verdict(copy, mutant).startswith(says)
    assert (copy / "half.py").read_text() == before


def test_survivors_make_the_exit_status_1(monkeypatch: pytest.MonkeyPatch, copy: Path) -> None:
    mutant = Mutant("whole", "half.py", "x / 2", "x", ("test_good.py",))
    monkeypatch.setattr(mutants, "ROOT", copy)
    monkeypatch.setattr(mutants, "COPIED", tuple(path.name for path in copy.iterdir()))
    for tests, status in ((("test_good.py",), 0), (("test_poor.py",), 1)):
        monkeypatch.setattr(mutants, "listed", lambda tests=tests: (replace(mutant, tests=tests),))
        assert mutants.main([]) == status
    assert mutants.main(["--only", "no such name"]) == 1
