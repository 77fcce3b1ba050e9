"""Many clips: the list is read strictly, each job is done once, and what was broken off is resumed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import pytest

from edge_tracker.cli import main
from edge_tracker.errors import ConfigError, OutputError
from edge_tracker.jobs import DaskCluster, Processes
from edge_tracker.service.batch import _lock, read_jobs
from tests.conftest import ROOT, Clip
from tests.jobs.conftest import Cluster, cluster

__all__ = ["cluster"]  # a fixture of another room


@pytest.fixture(scope="module")
def clips(clip: Clip, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with short image folders a to f, a list of them, and one source that is none."""
    folder = tmp_path_factory.mktemp("clips")
    lines = ["source,init,name,seed,max_frames,settings"]
    for number, name in enumerate("abcdef"):
        (folder / name).mkdir()
        for index, image in enumerate(clip.images[number : number + 8]):
            cv2.imwrite(str(folder / name / f"{index:03d}.png"), image)
        box = ",".join(f"{v:.2f}" for v in clip.boxes[number])
        lines.append(f'{name},"{box}",{"first" if name == "a" else ""},{number},{6 if name == "b" else ""},')
    (folder / "good.csv").write_text("\n".join(lines) + "\n")
    lines.insert(3, 'nowhere.mp4,"1,2,30,40",,,,')
    (folder / "jobs.csv").write_text("\n".join(lines) + "\n")
    return folder


def tracks_of(out: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in sorted((out / "tracks").iterdir())}


def batch(clips: Path, out: Path, *options: str, jobs: str = "good.csv") -> int:
    return main(["batch", str(clips / jobs), "--out", str(out), "--tracker", "fast", "--quiet", *options])


@pytest.fixture(scope="module")
def alone(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What one process makes of the good list."""
    out = tmp_path_factory.mktemp("alone")
    assert batch(clips, out) == 0
    return tracks_of(out)


def test_a_row_is_a_clip_with_its_options(alone: dict[str, str]) -> None:
    assert list(alone) == ["b.csv", "c.csv", "d.csv", "e.csv", "f.csv", "first.csv"]
    assert {name: len(text.splitlines()) - 1 for name, text in alone.items()} == dict.fromkeys(alone, 8) | {"b.csv": 6}


def test_a_failure_is_named_the_others_are_done_and_the_exit_code_is_2(
    clips: Path, tmp_path: Path, alone: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["batch", str(clips / "jobs.csv"), "--out", str(tmp_path), "--tracker", "fast"]
    assert main(arguments) == 2
    told = capsys.readouterr().err
    assert "7 clips: 6 done" in told
    assert "1 failed" in told
    assert "nowhere: no file or folder at" in told
    assert tracks_of(tmp_path) == alone
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert list(summary["failed"]) == ["nowhere"]
    assert summary["frames"] == 46
    assert main(arguments) == 2  # once more: the failed one alone
    assert "7 clips: 0 done (0 frames), 6 done before, 1 failed" in capsys.readouterr().err
    assert main([*arguments, "--quiet"]) == 2  # without a summary, but not without a word
    told = capsys.readouterr().err
    assert told.startswith("edge-track: nowhere: no file or folder at")
    assert "7 clips" not in told


def test_a_changed_job_is_done_again_and_no_other(clips: Path, tmp_path: Path) -> None:
    jobs = clips / "changed.csv"
    jobs.write_text((clips / "good.csv").read_text())
    assert batch(clips, tmp_path, jobs=jobs.name) == 0
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "tracks").iterdir()}
    jobs.write_text(jobs.read_text().replace(",1,6,", ",1,5,"))
    (tmp_path / "tracks" / "c.csv").unlink()
    assert batch(clips, tmp_path, jobs=jobs.name) == 0
    changed = {path.name for path, then in before.items() if path.stat().st_mtime_ns != then}
    assert changed == {"b.csv", "c.csv"}
    assert batch(clips, tmp_path, "--seed", "4", jobs=jobs.name) == 0  # rows with a seed of their own keep it
    ledger = [json.loads(line)["name"] for line in (tmp_path / "done.jsonl").read_text().splitlines()]
    assert len(ledger) == 6 + 2 + 6  # the command's options are part of the work


def test_a_line_that_was_cut_off_costs_one_job(clips: Path, tmp_path: Path, alone: dict[str, str]) -> None:
    assert batch(clips, tmp_path) == 0
    ledger = tmp_path / "done.jsonl"
    ledger.write_text(ledger.read_text()[:-20])
    assert batch(clips, tmp_path) == 0
    assert json.loads((tmp_path / "summary.json").read_text())["done_before"] == 5
    assert tracks_of(tmp_path) == alone
    assert batch(clips, tmp_path) == 0
    assert json.loads((tmp_path / "summary.json").read_text())["done_before"] == 6


def test_a_run_that_is_killed_is_resumed(clips: Path, tmp_path: Path, alone: dict[str, str]) -> None:
    command = [sys.executable, "-m", "edge_tracker", "batch", str(clips / "good.csv"), "--out", str(tmp_path)]
    command += ["--tracker", "fast", "--quiet", "--jobs", "2"]
    running = subprocess.Popen(command, cwd=ROOT)
    ledger = tmp_path / "done.jsonl"
    end = time.monotonic() + 60
    while not (ledger.exists() and ledger.read_text().count("\n") >= 2):
        assert time.monotonic() < end
        assert running.poll() is None
        time.sleep(0.01)
    running.send_signal(signal.SIGKILL)
    running.wait()
    held = ledger.read_text().count("\n")
    assert not list((tmp_path / "tracks").glob("*.partial*"))
    assert batch(clips, tmp_path) == 0
    assert json.loads((tmp_path / "summary.json").read_text())["done_before"] == held
    assert tracks_of(tmp_path) == alone


def test_a_worker_that_is_killed_costs_no_job(
    clips: Path, tmp_path: Path, alone: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    killed: list[int] = []
    original = Processes.run

    def run(self: Processes, work: object, items: object) -> object:
        for outcome in original(self, work, items):  # type: ignore[arg-type, var-annotated]
            if not killed:
                killed.extend(_children()[:1])
                os.kill(killed[0], signal.SIGKILL)
            yield outcome

    monkeypatch.setattr(Processes, "run", run)
    assert batch(clips, tmp_path, "--jobs", "2") == 0
    assert killed
    assert tracks_of(tmp_path) == alone
    names = [json.loads(line)["name"] for line in (tmp_path / "done.jsonl").read_text().splitlines()]
    assert sorted(names) == ["b", "c", "d", "e", "f", "first"]


def _children() -> list[int]:
    """Worker processes of this one."""
    found = Path(f"/proc/{os.getpid()}/task").glob("*/children")
    pids = [int(pid) for path in found for pid in path.read_text().split()]
    return [pid for pid in pids if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def test_a_cluster_makes_the_same_tracks(clips: Path, tmp_path: Path, alone: dict[str, str], cluster: Cluster) -> None:
    assert batch(clips, tmp_path, "--cluster", cluster.address) == 0
    assert tracks_of(tmp_path) == alone
    assert batch(clips, tmp_path) == 0  # where it was done does not matter
    assert json.loads((tmp_path / "summary.json").read_text())["done_before"] == 6


def test_clips_on_a_cluster_that_loses_a_worker_and_its_scheduler(
    clip: Clip, tmp_path: Path, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """EDGE_TRACKER_CLIPS=200 is the same with more clips, by hand."""
    count = int(os.environ.get("EDGE_TRACKER_CLIPS", "12"))
    lines = ["source,init,name,seed"]
    for index, image in enumerate(clip.images[:40]):
        cv2.imwrite(str(tmp_path / f"{index:03d}.png"), image)
    for number in range(count):  # clips of four frames that begin at different ones, in different places
        first, box = number % 36, clip.boxes[number % 36] + [number % 7, number % 5, 0, 0]
        pattern = tmp_path / f"clip{number}"
        pattern.mkdir()
        for index in range(first, first + 4):
            (pattern / f"{index:03d}.png").symlink_to(tmp_path / f"{index:03d}.png")
        lines.append(f'{pattern.name},"{",".join(map(str, box))}",c{number},{number}')
    (tmp_path / "jobs.csv").write_text("\n".join(lines) + "\n")
    assert batch(tmp_path, tmp_path / "alone", jobs="jobs.csv") == 0
    given: list[int] = []
    original = DaskCluster.run

    def run(self: DaskCluster, work: object, items: object) -> object:
        for index, outcome in original(self, work, items):  # type: ignore[arg-type, var-annotated]
            given.append(index)
            if len(given) == count // 6:
                cluster.kill(cluster.workers[0])
                cluster.start_worker()
            if len(given) == count // 2:
                assert cluster.scheduler is not None
                for process in (cluster.scheduler, *cluster.workers):
                    cluster.kill(process)
                cluster.start_scheduler()
                cluster.start_worker()
                cluster.start_worker()
            yield index, outcome

    monkeypatch.setattr(DaskCluster, "run", run)
    code = batch(tmp_path, tmp_path / "there", "--cluster", cluster.address, jobs="jobs.csv")
    assert json.loads((tmp_path / "there" / "summary.json").read_text())["failed"] == {}
    assert code == 0
    assert sorted(given) == list(range(count))
    names = [json.loads(line)["name"] for line in (tmp_path / "there" / "done.jsonl").read_text().splitlines()]
    assert sorted(names) == sorted(f"c{number}" for number in range(count))
    assert tracks_of(tmp_path / "there") == tracks_of(tmp_path / "alone")


def test_two_runs_do_not_share_a_folder(clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with open(tmp_path / "done.jsonl", "a") as ledger:
        _lock(ledger, tmp_path)
        assert batch(clips, tmp_path) == 2
        assert "another batch is writing" in capsys.readouterr().err
        with open(tmp_path / "done.jsonl", "a") as other, pytest.raises(OutputError):
            _lock(other, tmp_path)


def test_toml_and_csv_mean_the_same(tmp_path: Path) -> None:
    (tmp_path / "j.csv").write_text(
        'source,init,name,seed,settings\nclips/a.mp4,"1,2,3.5,4",,7,belief.lost_after=8; seed=1\nrtsp://u@h/b,"1,2,3,4",x,,\n'
    )
    (tmp_path / "j.toml").write_text(
        '\ufeff[[job]]\nsource = "clips/a.mp4"\ninit = [1, 2, 3.5, 4]\nseed = 7\n'
        'settings = ["belief.lost_after=8", "seed=1"]\n'
        '[[job]]\nsource = "rtsp://u@h/b"\ninit = [1, 2, 3, 4]\nname = "x"\n'
    )
    jobs = read_jobs(tmp_path / "j.csv")
    assert jobs == read_jobs(tmp_path / "j.toml")
    text = (tmp_path / "j.toml").read_text()
    (tmp_path / "j.toml").write_text(text.replace("[1, 2, 3.5, 4]", '"1, 2,3.5,4"'))
    assert jobs == read_jobs(tmp_path / "j.toml")
    assert [job.name for job in jobs] == ["a", "x"]
    assert jobs[0].source == str(tmp_path / "clips/a.mp4")
    assert jobs[1].source == "rtsp://u@h/b"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("source,init\n", "no job"),
        ("source\na.mp4\n", "init is missing"),
        ('source,init\na.mp4,"1,2,3"\n', "line 2.*init"),
        ('source,init\na.mp4,"1,2,3,x"\n', "line 2.*init"),
        ("source,init\na.mp4,1,2,3,4\n", "more or fewer cells"),
        ('source,init,tracer\na.mp4,"1,2,3,4",fast\n', "did you mean 'tracker'"),
        ('source,init,seed\na.mp4,"1,2,3,4",-1\n', "seed"),
        ('source,init,seed\na.mp4,"1,2,3,4",many\n', "seed"),
        ('source,init,max_frames\na.mp4,"1,2,3,4",0\n', "max_frames"),
        ('source,init,name\na.mp4,"1,2,3,4",../a\n', "name"),
        ('source,init,name\na.mp4,"1,2,3,4",.hidden\n', "name"),
        ('source,init\n,"1,2,3,4"\n', "source"),
        ('source,init\nx/a.mp4,"1,2,3,4"\ny/A.mp4,"1,2,3,4"\n', "jobs 1 and 2"),
        ('source,init\n"a.mp4,1\n', "cannot read"),
        ('source,init,init\na.mp4,"1,2,3,4","5,6,7,8"\n', "the column 'init' is there twice"),
        ('source,init, init\na.mp4,"1,2,3,4","5,6,7,8"\n', "the column 'init' is there twice"),
        ("source;init\na.mp4;1,2,3,4\n", "no header line"),
        ('a.mp4,"1,2,3,4"\n', "no header line: its first names the columns, source,init"),
        ('source,init\na.mp4,"nan,1,2,3"\n', "line 2: init is a list of 4 values, and finite"),
        ('source,init\na.mp4,"1,2,3,4\0"\n', "line 2: init"),
        ('source,init\na.mp4,"1,2,3,4"\na\0/b.mp4,"1,2,3,4"\n', "line 3: source holds the character 0"),
        ('source,init,name\na.mp4,"1,2,3,4",a\0b\n', "line 2.*name"),
        (f'source,init,name\na.mp4,"1,2,3,4",{"ü" * 101}\n', "longer than 200 bytes"),
        ('source,init,name\na.mp4,"1,2,3,4",x.partial\nb.mp4,"1,2,3,4",X\n', "'X.partial'.*until it is whole"),
        (None, "cannot read"),
    ],
)
def test_a_wrong_list_is_one_error_before_any_work(tmp_path: Path, text: str | None, message: str) -> None:
    path = tmp_path / "jobs.csv"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        read_jobs(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("job = 3\n", "tables"),
        ("job = [3]\n", "table"),
        ("[[job]]\nsource = 4\ninit = [1,2,3,4]\n", "source"),
        ('[[job]]\nsource = "a"\ninit = [1,2,3,4]\n[other]\n', "nothing else"),
        ("[[job]\n", "cannot read"),
        ('[[job]]\nsource = "a\\u0000/b"\ninit = [1,2,3,4]\n', "job 1: source holds the character 0"),
        ('[[job]]\nsource = "a"\ninit = "1,2,3"\n', "job 1: init"),
        ('[[job]]\nsource = "a"\ninit = [nan,2,3,4]\n', "job 1: init is a list of 4 values, and finite"),
        ("x = " + "[" * 5000, "cannot read"),
    ],
)
def test_a_wrong_toml_list_too(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "jobs.toml").write_text(text)
    with pytest.raises(ConfigError, match=message):
        read_jobs(tmp_path / "jobs.toml")


@pytest.mark.parametrize(
    ("column", "message"),
    [("tracker=nonsense", "nonsense"), ("settings=belief.lost_after=x", "lost_after"), ("settings=x", "NAME=VALUE")],
)
def test_a_job_that_no_tracker_takes_is_told_before_any_work(
    clips: Path, tmp_path: Path, column: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    name, _, value = column.partition("=")
    first = (clips / "jobs.csv").read_text().splitlines()[1]
    source = first.split(",")[0]
    path = clips / "wrong.csv"
    path.write_text(f'source,init,name,{name}\n{source},"1,2,30,40",good,\n{source},"1,2,30,40",bad,{value}\n')
    assert main(["batch", str(path), "--out", str(tmp_path / "out"), "--tracker", "fast"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "job 'bad'" in line
    assert message in line
    assert not (tmp_path / "out").exists()


def test_a_list_of_another_kind(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"\.csv or \.toml"):
        read_jobs(tmp_path / "jobs.json")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--tracker", "auto"], "auto depends on the machine"),
        (["--set", "no.such=1"], "no.such"),
        (["--model", "none.onnx"], "none.onnx"),
        (["--cluster", "nonsense"], "scheduler"),
    ],
)
def test_a_wrong_option_fails_before_any_job(
    clips: Path, tmp_path: Path, options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if "--cluster" in options:
        pytest.importorskip("distributed", reason="needs edge-tracker[cluster]")
    assert batch(clips, tmp_path / "out", *options) == 2
    assert message in capsys.readouterr().err
    assert not list((tmp_path / "out").glob("tracks/*"))
