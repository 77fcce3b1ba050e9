"""Take one mechanism at a time out of a copy of the source, and see whether a test notices.

    python scripts/mutants.py [--only NAME ...] [--jobs 1] [--list]

A line of tests is no proof that behaviour is held: take the behaviour out, and they must fail. Each mutant replaces a
few words of one file so that the code still runs but one mechanism is gone, and names the tests that are to notice:
scripts/mutants.toml is the list. These must pass on the source as it is. Prints a table; the exit status is 1 if a
mutant survives or does not run.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

ROOT = Path(__file__).resolve().parents[1]
LIST = ROOT / "scripts" / "mutants.toml"
COPIED = ("edge_tracker", "converters", "calibration", "scripts", "tests", "pyproject.toml")
PASSED, FAILED, NONE_RAN = 0, 1, 5  # exit statuses of pytest
LONGEST_S = 600.0


@dataclass(frozen=True)
class Mutant:
    """A mechanism taken out."""

    name: str
    file: str
    old: str  # occurs once
    new: str
    tests: tuple[str, ...]  # files, or FILE::TEST


def listed(path: Path = LIST) -> tuple[Mutant, ...]:
    """The mutants of a TOML file, whose first lines say how it is laid out."""
    found = []
    for file, entries in tomllib.loads(path.read_text(encoding="utf-8")).items():
        usual = entries.pop("tests")
        for name, (old, new, *tests) in entries.items():
            named = tuple(usual + test if test.startswith("::") else test for test in tests)
            found.append(Mutant(name, file, old, new, named or (usual,)))
    return tuple(found)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="part of a name; may be repeated")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="copies that are tested at once")
    parser.add_argument("--list", action="store_true", help="print the mutants and stop")
    args = parser.parse_args(arguments)
    chosen = [m for m in listed() if not args.only or any(word in m.name for word in args.only)]
    if args.list or not chosen:
        print("\n".join(f"{m.name}  ({m.file})" for m in chosen) or "no mutant has such a name")
        return 0 if chosen else 1
    with tempfile.TemporaryDirectory() as work:
        copies: SimpleQueue[Path] = SimpleQueue()
        for number in range(max(1, args.jobs)):
            copies.put(copy_to(Path(work) / str(number)))
        here = copies.get()
        tests = sorted({test for m in chosen for test in m.tests})
        status, said = pytest(here, tests)
        copies.put(here)
        if status != PASSED:
            print(f"The tests do not pass on the source as it is:\n{said}")
            return 1
        with ThreadPoolExecutor(max(1, args.jobs)) as pool:
            verdicts = [pool.submit(verdict_in, copies, mutant) for mutant in chosen]
            width = max(len(m.name) for m in chosen)
            found = []
            for mutant, verdict in zip(chosen, verdicts, strict=True):
                found.append(verdict.result())
                print(f"{mutant.name:{width}}  {mutant.file:40}  {found[-1]}", flush=True)
    held = sum(word.startswith("held") for word in found)
    print(f"{held} of {len(found)} mechanisms are held by a test")
    return 0 if held == len(found) else 1


def copy_to(folder: Path) -> Path:
    """What the tests read of the checkout, in a folder of its own."""
    folder.mkdir()
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, folder / name)
    return folder


def verdict_in(copies: SimpleQueue[Path], mutant: Mutant) -> str:
    here = copies.get()
    try:
        return verdict(here, mutant)
    finally:
        copies.put(here)


def verdict(here: Path, mutant: Mutant) -> str:
    """Take the mechanism out of the copy `here`, test, and put it back."""
    path = here / mutant.file
    source = path.read_text(encoding="utf-8")
    if source.count(mutant.old) != 1:
        return f"STALE: its text occurs {source.count(mutant.old)} times"
    path.write_text(source.replace(mutant.old, mutant.new), encoding="utf-8")
    try:
        status, said = pytest(here, mutant.tests)
    finally:
        path.write_text(source, encoding="utf-8")
    if status == FAILED:
        by = next((line.split("::")[-1].split(" ")[0] for line in said.splitlines() if line.startswith("FAILED")), "")
        return f"held by {by}"
    return {PASSED: "SURVIVES", NONE_RAN: "no test ran"}.get(status, f"DOES NOT RUN: {said.splitlines()[-1:]}")


def pytest(here: Path, tests: Sequence[str]) -> tuple[int, str]:
    """Exit status and output of these tests in the copy `here`."""
    environment = {**os.environ, "PYTHONPATH": str(here), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests]
    try:
        done = subprocess.run(
            command,
            cwd=here,
            env=environment,
            capture_output=True,
            text=True,
            timeout=LONGEST_S * max(1, len(tests) // 4),
        )
    except subprocess.TimeoutExpired:
        return FAILED, "FAILED ::it took too long"
    return done.returncode, done.stdout + done.stderr


if __name__ == "__main__":
    sys.exit(main())
