"""What users of such tools have reported, each made by its recipe: footage comes in right, results go out whole.

The numbers are the rows of the list these were collected in; the public report stands beside each.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from edge_tracker import Tracker
from edge_tracker.backbones.catalogue import PACKAGED
from tests.conftest import ROOT
from tests.footage import INIT, Bench, probe

GOOD = 0.8  # mean IoU of the fast tracker on the base clip, whatever it is coded in


@pytest.mark.parametrize(
    ("source", "outputs"),
    [
        ("s.mp4", ["s.mp4"]),
        ("s.mp4", ["jsonl:s.mp4"]),
        ("s.mp4", ["./s.mp4"]),
        ("link.mp4", ["s.mp4"]),
        ("s.mp4", ["link.mp4"]),
        ("hard.mp4", ["s.mp4"]),
        ("fold", ["jsonl:fold/0003.png"]),
        ("fold", ["fold/0003.png"]),
        ("fold/*.png", ["csv:fold/0003.png"]),
        ("s.partial.mp4", ["s.mp4"]),
        ("s.mp4", ["jsonl:m.onnx"]),
        ("s.mp4", ["b.jsonl", "csv:b.jsonl"]),
        ("s.mp4", ["b.jsonl", "jsonl:./b.jsonl"]),
        ("s.mp4", ["b.mp4", "b.partial.mp4"]),
    ],
    ids=str,
)
def test_1_nothing_that_is_read_is_overwritten(
    source: str, outputs: list[str], bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """WinFF/winff#110, ElvinC/gyroflow#62."""
    monkeypatch.chdir(bench.folder)
    bench.base_mp4("s.mp4")
    Path("link.mp4").symlink_to("s.mp4")
    os.link("s.mp4", "hard.mp4")
    if source == "s.partial.mp4":
        shutil.move("s.mp4", source)
    bench.write("fold", lambda i: f"{i:04d}.png", 5)
    shutil.copy(PACKAGED / "edge-small.onnx", "m.onnx")
    before = {p: p.read_bytes() for p in Path().rglob("*") if p.is_file()}
    run = bench.track(source, "--model", "m.onnx", *(word for name in outputs for word in ("--output", name)))
    assert run.code == 2
    assert len(run.errors) == 1
    assert "would overwrite" in run.errors[0]
    assert {p: p.read_bytes() for p in Path().rglob("*") if p.is_file()} == before


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("i.mp4", "-c:v libx264 -flags +ilme+ildct"),
        ("i.mpg", "-c:v mpeg2video -q:v 2 -flags +ilme+ildct"),
        ("i.ts", "-c:v libx264 -x264opts interlaced=1"),
        ("i.mkv", "-vf setfield=tff -c:v ffv1"),
        ("i.avi", "-c:v mpeg4 -q:v 2 -flags +ilme+ildct"),
    ],
)
def test_2_interlaced_video_comes_woven(name: str, options: str, bench: Bench) -> None:
    """vllm-project/vllm#47853: black frames, no error."""
    bench.ffmpeg(f"-i base.mp4 {options} {name}")
    run = bench.track(bench.folder / name)
    assert (run.code, len(run.lines)) == (0, 60)
    assert bench.overlap(run) > GOOD


def test_3_a_trimmed_clip_has_the_frames_of_its_edit_list(bench: Bench) -> None:
    """opencv/opencv#16576, vllm-project/vllm#48608."""
    bench.ffmpeg("-i base.mp4 -c:v libx264 -g 250 g.mp4")
    bench.ffmpeg("-ss 1 -i g.mp4 -c copy t.mp4")
    run = bench.track(bench.folder / "t.mp4")
    assert (run.code, len(run.lines), run.partial) == (0, 30, False)
    assert run.times[-1] == pytest.approx(29 / 30, abs=1e-6)


AUDIO = "-stream_loop 9 -i base.mp4 -f lavfi -t 21.5 -i anullsrc -c:v copy -c:a aac"
SCREEN = "-i base.mp4 -vf setpts='if(lt(N\\,20)\\,N/30\\,20/30+(N-20)*0.4)/TB' -vsync vfr"


@pytest.mark.parametrize(
    ("name", "command", "frames"),
    [
        ("d.mkv", "-stream_loop 9 -i base.mp4 -vf select='gte(mod(n\\,100)\\,3)' -vsync vfr", 582),
        ("s.mkv", SCREEN, 60),
        ("s.webm", f"{SCREEN} -c:v libvpx -deadline realtime -cpu-used 8", 60),
        ("s.mp4", SCREEN, 60),
        ("a.mkv", AUDIO, 600),
        ("a.ts", AUDIO, 600),
        ("a.flv", AUDIO, 600),
        ("h.avi", "-i base.mp4 -f lavfi -t 4 -i anullsrc -c:v copy -c:a mp3", 60),
    ],
)
def test_4_the_end_is_the_streams_not_a_counts(name: str, command: str, frames: int, bench: Bench) -> None:
    """opencv/opencv#19930, #22571, IntelligentSensingAndRehabilitation/PosePipeline#59."""
    bench.ffmpeg(f"{command.replace(chr(39), '')} {name}")
    run = bench.track(bench.folder / name)
    assert (run.code, len(run.lines), run.partial, run.said) == (0, frames, False, "")
    times = probe(bench.folder / name)
    if not name.endswith(".avi"):  # whose last frames have no time of their own
        assert run.times[-1] == pytest.approx(times[-1] - times[0], abs=2e-3)
    assert (np.diff(run.times) > 0).all()


def test_6_images_come_in_natural_order(bench: Bench) -> None:
    """roboflow/trackers#558."""
    folder = bench.write("unp", lambda i: f"{i + 1}.png")
    for source in (folder, folder / "*.png", folder / "%d.png"):
        run = bench.track(source)
        assert (run.code, len(run.lines)) == (0, 60)
        assert bench.overlap(run) > GOOD
    assert bench.overlap(bench.track(bench.folder / "base")) > GOOD


NAMES = [b"caf\xe9.mp4", b"dir\xe9/x.mp4", "çay.mp4".encode(), b"a b'\"%d.mp4", b"-x.mp4", b"\x1b[31m.mp4"]


@pytest.mark.parametrize("name", NAMES, ids=repr)
@pytest.mark.parametrize("locale", ["C", "C.UTF-8"])
def test_7_names_of_any_bytes(name: bytes, locale: str, bench: Bench) -> None:
    """opencv/opencv#17141: a segmentation fault that was the container's locale."""
    source = bench.folder / os.fsdecode(name)
    source.parent.mkdir(exist_ok=True)
    shutil.copy(bench.base_mp4(), source)
    images = bench.write("few", lambda i: f"{i}.png", 5).rename(f"{source}.d")
    output = str(bench.folder / os.fsdecode(b"out\xe9"))
    environment = {**os.environ, "LC_ALL": locale, "PYTHONPATH": str(ROOT)}
    if locale == "C":
        environment |= {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    options = ["--init", INIT, "--tracker", "fast", "--quiet", "--max-frames", "5"]
    for given, suffixes in ((source, (".mp4", ".jsonl")), (images, (".mkv", ".csv"))):
        wanted = [word for suffix in suffixes for word in ("--output", output + suffix)]
        command = [sys.executable, "-m", "edge_tracker", "--source", str(given), *options, *wanted]
        done = subprocess.run(command, env=environment, cwd=bench.folder, capture_output=True, timeout=120, check=False)
        assert done.returncode == 0, done
        assert all(Path(output + suffix).stat().st_size for suffix in suffixes)


def test_7_a_name_that_is_not_there_is_told_whatever_its_bytes(bench: Bench) -> None:
    run = bench.track(os.fsdecode(os.fsencode(bench.folder) + b"/nothing\xe9.mp4"))
    assert run.code == 2
    assert "no file or folder" in run.said


def test_10_12_a_colon_is_no_protocol(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """opencv/opencv#15624, Genymobile/scrcpy#5487, ihabunek/twitch-dl#89."""
    monkeypatch.chdir(bench.folder)
    bench.base_mp4("2026-11-25T12:30:00.mp4")
    for source in ("2026-11-25T12:30:00.mp4", "./2026-11-25T12:30:00.mp4", "file:2026-11-25T12:30:00.mp4"):
        run = bench.track(source, "--output", "out12:30.mp4")
        assert (run.code, len(run.lines)) == (0, 60)
    assert len(probe(bench.folder / "out12:30.mp4")) == 60


@pytest.mark.parametrize("suffix", ["tif", "webp", "png", "gif"])
def test_13_a_file_of_many_pictures_is_a_video(suffix: str, bench: Bench) -> None:
    """imageio/imageio#558, sepinf-inc/IPED#763."""
    pil = pytest.importorskip("PIL.Image")
    if suffix == "webp" and not hasattr(cv2, "imdecodeanimation"):
        pytest.skip("moving WebP needs OpenCV 4.12")
    pictures = [pil.fromarray(image[:, :, ::-1]) for image in bench.images]
    path = bench.folder / f"stack.{suffix}"
    timing = {} if suffix == "tif" else {"duration": 40}
    pictures[0].save(path, save_all=True, append_images=pictures[1:], **timing)
    run = bench.track(path)
    assert (run.code, len(run.lines)) == (0, 60)
    assert bench.overlap(run) > GOOD
    assert run.times[-1] == pytest.approx(59 / 30 if suffix == "tif" else 59 * 0.04, abs=1e-3)


def test_14_time_goes_on_where_segments_were_joined(bench: Bench) -> None:
    """LectureTracking/trackhd#29, AlexxIT/go2rtc#1943."""
    bench.ffmpeg("-i base.mp4 -c copy a.ts")
    a = (bench.folder / "a.ts").read_bytes()
    (bench.folder / "aa.ts").write_bytes(2 * a)
    run = bench.track(bench.folder / "aa.ts")
    assert (run.code, len(run.lines)) == (0, 120)
    np.testing.assert_allclose(run.times, np.arange(120) / 30, atol=1e-5)


def damage(path: Path) -> int:
    """Zeros from the packet in the middle of a video on; how many packets they hit, which depends on its pictures."""
    with av.open(path) as video:
        places = sorted(packet.pos for packet in video.demux(video=0) if packet.pos is not None)
    data, middle = bytearray(path.read_bytes()), places[len(places) // 2]
    data[middle : middle + 9000] = bytes(9000)
    path.write_bytes(data)
    return sum(middle <= place < middle + 9000 for place in places)


@pytest.mark.parametrize(("suffix", "least"), [("mp4", 56), ("ts", 56), ("avi", 56)])
def test_15_a_damaged_picture_ends_nothing(suffix: str, least: int, bench: Bench) -> None:
    """openvinotoolkit/open_model_zoo#1945, opencv/opencv#11782."""
    bench.ffmpeg(f"-i base.mp4 -c:v libx264 -crf 12 -g 250 g.{suffix}")
    path = bench.folder / f"g.{suffix}"
    hit = damage(path)
    run = bench.track(path)
    assert (run.code, run.partial) == (0, False)
    assert least <= len(run.lines) <= 60
    assert (np.diff(run.times) > 0).all()
    # The gap is kept; the last frames of an AVI have no time of their own.
    assert run.times[-1] == pytest.approx(59 / 30, abs=0.04 if suffix == "avi" else 2e-3)
    if suffix == "mp4":
        assert len(run.lines) == 60 - hit
        assert "is damaged" in run.said
        assert f"{len(run.lines)} frames came through" in run.said


def test_15_a_picture_that_the_decoder_has_patched_is_counted(bench: Bench) -> None:
    bench.ffmpeg("-i base.mp4 -c:v libx264 -g 4 g.mp4")
    path = bench.folder / "g.mp4"
    data, random = bytearray(path.read_bytes()), np.random.default_rng(0)
    third = len(data) // 3
    for place in random.integers(third, 2 * third, 400):
        data[place] = random.integers(256)
    path.write_bytes(data)
    run = bench.track(path)
    assert run.code == 0
    (patched,) = re.findall(r"is damaged: .*, (\d+) of them with faults", run.said)
    assert int(patched) > 0


def test_15_a_file_that_breaks_off_inside_says_so(bench: Bench) -> None:
    """The demuxer of Matroska finds nothing behind the damage, and neither does ffmpeg: the user must hear of it."""
    bench.ffmpeg("-i base.mp4 -c:v libx264 -crf 12 -g 250 g.mkv")
    path = bench.folder / "g.mkv"
    damage(path)
    run = bench.track(path)
    assert len(run.lines) < 40
    assert "states a length of 2.0 s" in run.said


def test_18_hidden_companions_are_no_frames(bench: Bench) -> None:
    """SanjaySoniLV/ProjectKestrel#58, jurplel/qView#651."""
    folder = bench.write("apple", lambda i: f"{i:04d}.png", 10)
    for name in ("._0000.png", ".DS_Store", ".hidden.jpg"):
        (folder / name).write_bytes(b"\x00\x05\x16\x07")
    for source in (folder, folder / "*.png"):
        run = bench.track(source)
        assert (run.code, len(run.lines)) == (0, 10)


def test_19_deep_pictures_are_stretched(bench: Bench) -> None:
    """opencv/opencv#15969, DY112/LSMI-dataset#25: thermal and 12-bit frames look black."""
    for kind in ("thermal", "twelve", "float"):
        folder = bench.folder / kind
        folder.mkdir()
        for index, image in enumerate(bench.images[:20]):
            grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY).astype(np.float64)
            values = {"thermal": 27000 + 8 * grey, "twelve": 16 * grey, "float": 290 + grey / 50}[kind]
            suffix, dtype = (".tif", np.float32) if kind == "float" else (".png", np.uint16)
            cv2.imwrite(str(folder / f"{index:03d}{suffix}"), values.astype(dtype))
        run = bench.track(folder)
        assert run.code == 0, run.said
        assert bench.overlap(run) > GOOD
    bench.ffmpeg("-i thermal/%03d.png -c:v ffv1 -pix_fmt gray16le thermal.mkv")
    run = bench.track(bench.folder / "thermal.mkv")
    assert run.code == 0
    assert bench.overlap(run) > GOOD


def test_20_a_stream_without_a_clock_says_so(bench: Bench) -> None:
    """waveform80/picamera#500, raspberrypi/rpicam-apps#623."""
    bench.ffmpeg("-i base.mp4 -c copy -f h264 r.h264")
    run = bench.track(bench.folder / "r.h264")
    assert (run.code, len(run.lines)) == (0, 60)
    assert "has no clock" in run.said
    assert "--fps" in run.said
    assert run.times[-1] == pytest.approx(59 / 30, abs=1e-4)  # what its own header says of the rate
    run = bench.track(bench.folder / "r.h264", "--fps", "15")
    assert (run.code, run.said) == (0, "")
    assert run.times[-1] == pytest.approx(59 / 15, abs=1e-4)
    run = bench.track(bench.folder / "base", "--fps", "15")
    assert run.times[-1] == pytest.approx(59 / 15, abs=1e-4)


def test_22_a_model_with_external_data_is_refused_by_name(bench: Bench) -> None:
    """microsoft/onnxruntime#6696."""
    onnx = pytest.importorskip("onnx")
    for folder in ("beside", "alone"):
        (bench.folder / folder).mkdir()
        path = bench.folder / folder / "m.onnx"
        model = onnx.load(str(PACKAGED / "edge-small.onnx"))
        onnx.save_model(model, str(path), save_as_external_data=True, location="m.data", size_threshold=0)
        if folder == "alone":
            (path.parent / "m.data").unlink()
        run = bench.track(bench.folder / "base", "--model", str(path))
        assert run.code == 2
        assert len(run.errors) == 1
        assert "external data" in run.errors[0]
        assert "one file" in run.errors[0]


def test_23_a_box_may_begin_with_a_minus(bench: Bench) -> None:
    """pengxingang/Pocket2Mol#34."""
    run = bench.track(bench.folder / "base", "--max-frames", "3", init="-5,10,44,44")
    assert (run.code, len(run.lines)) == (0, 3)
    assert run.lines[0]["box"] == [-5, 10, 44, 44]


def test_24_spellings_of_other_tools(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(bench.folder)
    bench.write("fr[1]", lambda i: f"{i:04d}.png", 10)
    for source in ("fr[1]", "fr[1]/*.png", "fr[1]/%04d.png"):
        run = bench.track(source)
        assert (run.code, len(run.lines)) == (0, 10), run.said
    run = bench.track("/dev/video63")
    assert run.code == 2
    assert "camera 63" in run.said


def test_24_a_fifo_and_standard_input(bench: Bench) -> None:
    bench.ffmpeg("-i base.mp4 -c copy a.ts")
    data = (bench.folder / "a.ts").read_bytes()
    fifo = bench.folder / "fifo"
    os.mkfifo(fifo)
    writer = threading.Thread(target=fifo.write_bytes, args=(data,))
    writer.start()
    run = bench.track(fifo)
    writer.join()
    assert (run.code, len(run.lines)) == (0, 60)
    command = [sys.executable, "-m", "edge_tracker", "--source", "-", "--init", INIT, "--output", "-", "--quiet"]
    done = subprocess.run(command, input=data, capture_output=True, timeout=120, check=False)
    assert done.returncode == 0, done
    assert len(done.stdout.splitlines()) == 60


def test_25_a_tracker_is_made_in_its_worker() -> None:
    """microsoft/onnxruntime#7846."""
    import copy
    import pickle

    for action in (pickle.dumps, copy.deepcopy, copy.copy):
        with pytest.raises(TypeError, match="worker|make another"):
            action(Tracker())


@pytest.mark.parametrize("outputs", [["-"], ["-", "o2.csv"], ["csv:-"]], ids=str)
def test_28_a_reader_that_leaves_ends_the_run_quietly(outputs: list[str], bench: Bench) -> None:
    wanted = [word for name in outputs for word in ("--output", name)]
    command = [sys.executable, "-m", "edge_tracker", "--source", str(bench.folder / "base"), "--init", INIT, *wanted]
    process = subprocess.Popen([*command, "--quiet"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=bench.folder)
    assert process.stdout is not None
    assert process.stdout.readline()
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == b""
    assert process.wait(timeout=60) in (0, 141)
    assert not (bench.folder / "o2.csv").exists()


@pytest.mark.parametrize("size", [(641, 361), (319, 239), (17, 13)])
def test_29_odd_sizes_are_padded_not_cut(size: tuple[int, int], bench: Bench) -> None:
    """opencv/opencv#12466."""
    folder = bench.folder / "odd"
    folder.mkdir()
    for index in range(5):
        image = cv2.resize(bench.images[index], size)
        image[:, -1], image[-1] = (0, 0, 255), (0, 0, 255)
        cv2.imwrite(str(folder / f"{index}.png"), image)
    box = f"{size[0] / 4},{size[1] / 4},{size[0] / 4},{size[1] / 4}"
    run = bench.track(folder, "--output", str(bench.folder / "o.mp4"), init=box)
    assert run.code == 0, run.said
    capture = cv2.VideoCapture(str(bench.folder / "o.mp4"))
    ok, picture = capture.read()
    assert ok
    width, height = size[0] + size[0] % 2, size[1] + size[1] % 2
    assert picture.shape == (height, width, 3)
    if size[0] < 100:
        return  # the label covers it all
    red = picture[height // 2 :, -2:].astype(int)
    assert (red[..., 2] - red[..., 0]).mean() > 60  # the last column of the source is there
