"""Many recorded clips, each tracked as a job of its own: read from a list, done once, resumed where it stopped.

A folder of results holds `tracks/NAME.csv` (or .jsonl), whole or not at all; `done.jsonl`, a line for each finished
job, written after its tracks are there; and `summary.json` of the last run. A job counts as done if its line states the
same work: the same clip and box, settings, model and version.
"""

from __future__ import annotations

import csv
import fcntl
import hashlib
import json
import os
import tempfile
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import IO, Annotated, Any

from edge_tracker import __version__
from edge_tracker.errors import ConfigError, EdgeTrackerError, OutputError, first_line
from edge_tracker.files import partial_path, write_text
from edge_tracker.jobs.local import Executor
from edge_tracker.methods import prepare
from edge_tracker.outputs import CsvOutput, JsonLinesOutput
from edge_tracker.service.config import named_twice
from edge_tracker.service.run import run
from edge_tracker.settings import AtLeast, assign, check, from_mapping, hints, shown
from edge_tracker.tracker import Tracker
from edge_tracker.video import open_source

LONGEST_NAME = 200  # bytes; a file system takes 255, with the suffix
FORMATS = {"csv": CsvOutput, "jsonl": JsonLinesOutput}


@dataclass(frozen=True)
class Job:
    """A row of the list: a clip, the target in its first frame, and what is other than the command's options."""

    source: Annotated[str, "a video file, image folder, glob or URL; a path is taken from the folder of the list"]
    init: Annotated[tuple[float, float, float, float], "x, y, w, h, px"]
    name: Annotated[str, "of the result's file; by default that of the source without its ending"] = ""
    tracker: Annotated[str | None, "method"] = None
    seed: Annotated[int, AtLeast(0)] | None = None
    max_frames: Annotated[int, AtLeast(1)] | None = None
    settings: Annotated[tuple[str, ...], "NAME=VALUE, as --set takes them"] = ()

    def __post_init__(self) -> None:
        check(self)
        if not self.source:
            raise ConfigError("source is empty")
        if not self.name:
            object.__setattr__(self, "name", Path(self.source.rstrip("/").split("?")[0]).stem)
        if not self.name or self.name != Path(self.name).name or self.name.startswith("."):
            raise ConfigError(f"name is a file's name without folders, not {self.name!r}")
        if len(os.fsencode(self.name)) > LONGEST_NAME:
            raise ConfigError(f"name is longer than {LONGEST_NAME} bytes: {shown(self.name)}")


@dataclass(frozen=True)
class Done:
    """What a finished job says of itself; `work` identifies it, `fps` are updates per second, decoding excluded."""

    name: str
    work: str
    frames: int
    lost_frames: int
    fps: float


@dataclass
class Summary:
    """What a run over the list did."""

    jobs: int
    done_before: int = 0
    done: list[Done] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)  # name -> why


def read_jobs(path: Path) -> list[Job]:
    """The jobs of a .csv file with a header line, or of a .toml file with tables [[job]].

    init is the text "x,y,w,h", in TOML also a list. A CSV's cells are texts: settings are parted by semicolons, an
    empty cell is one not given. Raises ConfigError that names the row.
    """
    try:
        if path.suffix == ".toml":
            document = tomllib.loads(path.read_text(encoding="utf-8-sig"))
            rows = document.pop("job", [])
            if document or not isinstance(rows, list):
                raise ConfigError(f"{path} holds tables [[job]] and nothing else")
            numbered = [(f"{path}, job {number}", _with_box(row)) for number, row in enumerate(rows, start=1)]
        elif path.suffix == ".csv":
            with open(path, encoding="utf-8-sig", newline="") as file:
                reader = csv.DictReader(file, strict=True)
                if reader.fieldnames and not any(name.strip() in hints(Job) for name in reader.fieldnames):
                    raise ConfigError(
                        f"{path} has no header line: its first names the columns, source,init,name and so on"
                    )
                if twice := named_twice([name.strip() for name in reader.fieldnames or () if name.strip()]):
                    raise ConfigError(f"{path}: the column {twice!r} is there twice")
                numbered = [(where := f"{path}, line {reader.line_num}", _of_cells(row, where)) for row in reader]
        else:
            raise ConfigError(f"a list of jobs is a .csv or .toml file, not {path.name}")
    except (OSError, UnicodeDecodeError, csv.Error, tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConfigError(f"cannot read {path}: {first_line(error)}") from error
    jobs = [_placed(from_mapping(Job, row, where), path.parent) for where, row in numbered]
    if not jobs:
        raise ConfigError(f"{path} holds no job")
    seen: dict[str, int] = {}
    for number, job in enumerate(jobs):
        other = seen.setdefault(job.name.casefold(), number)
        if other != number:
            raise ConfigError(
                f"{path}: jobs {other + 1} and {number + 1} are both called {job.name!r}: give them different names"
            )
    for job in jobs:
        aside = partial_path(Path(f"{job.name}.csv")).stem
        if aside.casefold() in seen:
            raise ConfigError(f"{path}: {aside!r} is the name under which {job.name!r} is written until it is whole")
    return jobs


def check_jobs(jobs: Sequence[Job], make: partial[Tracker]) -> tuple[Path, ...]:
    """Load each tracker that the jobs ask for, and check the settings of each job; returns the files of the model.

    make: as for `run_batch`. Raises ConfigError or ModelError that names the job.
    """
    tracker, model = make.args[-2:]
    prepared = {tracker: prepare(tracker, model, **make.keywords)}
    for job in jobs:
        try:
            method = job.tracker or tracker
            if method not in prepared:
                prepared[method] = prepare(method, model, **make.keywords)
            assign(prepared[method].config, job.settings)
        except ConfigError as error:
            raise ConfigError(f"job {job.name!r}: {error}") from error
    return prepared[tracker].files


def _of_cells(row: Mapping[str | None, Any], where: str) -> dict[str, Any]:
    """A row of a CSV file as a mapping of settings; what is no number stays a text, to be complained of."""
    found: dict[str, Any] = {}
    for name, cell in row.items():
        if name is None or cell is None:
            raise ConfigError(f"{where}: more or fewer cells than the header has: a box is written in quotes")
        text = cell.strip()
        if not text:
            continue
        key = name.strip()
        if key == "settings":
            found[key] = [part.strip() for part in text.split(";") if part.strip()]
        else:
            found[key] = _number(text) if key in ("seed", "max_frames") else text
    return _with_box(found)


def _with_box(row: Any) -> Any:
    """A row with the text "x,y,w,h" of its init as four numbers."""
    if not isinstance(row, dict) or not isinstance(row.get("init"), str):
        return row
    return row | {"init": [_number(part) for part in row["init"].split(",")]}


def _number(text: str) -> float | int | str:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _placed(job: Job, folder: Path) -> Job:
    """The job with its source's path made whole: another machine has another working folder."""
    return job if "://" in job.source else replace(job, source=str((folder / job.source).absolute()))


def track_clip(make: partial[Tracker], form: str, job: Job) -> tuple[str, int, int, float]:
    """Track one clip; returns the text of its tracks, frames, frames LOST, updates per second. Raises
    EdgeTrackerError."""
    tracker, model = make.args[-2:]
    options = dict(make.keywords)
    if job.seed is not None:
        options["seed"] = job.seed
    options["settings"] = [*options.get("settings", ()), *job.settings]
    made = partial(make.func, *make.args[:-2], job.tracker or tracker, model, **options)()
    with tempfile.TemporaryDirectory(prefix="edge-track-") as folder, open_source(job.source) as source:
        path = Path(folder) / f"tracks.{form}"
        summary = run(source, made, job.init, [FORMATS[form](path)], job.max_frames)
        return path.read_text(encoding="utf-8"), summary.frames, summary.lost_frames, summary.fps


def run_batch(
    jobs: Sequence[Job], make: partial[Tracker], folder: Path, executor: Executor, form: str = "csv", setup: str = ""
) -> Iterator[Summary]:
    """Do what is not done yet; yields the summary after each job, and first of all.

    make: gives the tracker, `partial(Tracker, method, model, ...)`. setup: a text that changes with whatever of it
    makes other boxes; a result of another setup is no result.
    Raises OutputError where `folder` cannot be written, or where another run is writing into it.
    """
    try:
        (folder / "tracks").mkdir(parents=True, exist_ok=True)
        with open(folder / "done.jsonl", "a+", encoding="utf-8") as ledger:
            _lock(ledger, folder)
            yield from _run_batch(jobs, make, folder, executor, form, setup, ledger)
    except OSError as error:
        raise OutputError(f"cannot write into {folder}: {error.strerror or first_line(error)}") from error


def _run_batch(
    jobs: Sequence[Job],
    make: partial[Tracker],
    folder: Path,
    executor: Executor,
    form: str,
    setup: str,
    ledger: IO[str],
) -> Iterator[Summary]:
    works = {job.name: _identity(job, form, setup) for job in jobs}
    known = _read_ledger(ledger)
    paths = {job.name: folder / "tracks" / f"{job.name}.{form}" for job in jobs}
    before = [name for name, work in works.items() if known.get(name) == work and paths[name].is_file()]
    waiting = [job for job in jobs if job.name not in set(before)]
    summary = Summary(len(jobs), len(before))
    yield summary
    for index, outcome in executor.run(partial(track_clip, make, form), waiting):
        name = waiting[index].name
        if isinstance(outcome, Exception):
            known_kind = isinstance(outcome, EdgeTrackerError)
            summary.failed[name] = ("" if known_kind else f"{type(outcome).__name__}: ") + first_line(outcome)
        else:
            text, frames, lost_frames, fps = outcome
            write_text(paths[name], text)
            done = Done(name, works[name], frames, lost_frames, round(fps, 1))
            ledger.write(json.dumps(asdict(done)) + "\n")
            ledger.flush()
            summary.done.append(done)
        yield summary
    write_text(folder / "summary.json", json.dumps(_told(summary), indent=2) + "\n")


def _told(summary: Summary) -> dict[str, Any]:
    return {
        "jobs": summary.jobs,
        "done_before": summary.done_before,
        "done": len(summary.done),
        "frames": sum(done.frames for done in summary.done),
        "failed": dict(sorted(summary.failed.items())),
    }


def _identity(job: Job, form: str, setup: str) -> str:
    """What a result depends on, as a digest: not where it is computed."""
    state = [asdict(job), form, setup, __version__]
    return hashlib.sha256(json.dumps(state, sort_keys=True).encode()).hexdigest()[:32]


def _read_ledger(ledger: IO[str]) -> dict[str, str]:
    """Name -> work of what is done; the last line of a name counts. A line that was cut off is made whole by nothing:
    its job is done again."""
    ledger.seek(0)
    found = {}
    text = ledger.read()
    for line in text.splitlines():
        try:
            entry = json.loads(line)
            found[str(entry["name"])] = str(entry["work"])
        except (ValueError, KeyError, TypeError):
            continue
    if text and not text.endswith("\n"):
        ledger.write("\n")
    return found


def _lock(ledger: IO[str], folder: Path) -> None:
    try:
        fcntl.flock(ledger, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise OutputError(f"another batch is writing into {folder}") from error
