"""The configuration file: read, checked, shown without secrets."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from edge_tracker.cli import main
from edge_tracker.errors import ConfigError, EdgeTrackerError
from edge_tracker.outputs.mqtt_client import MqttAddress
from edge_tracker.service.choose import parsed_wish
from edge_tracker.service.config import load_config, without_secrets

WHOLE = """
output = ["mqtt://pi:${BROKER_PASSWORD}@broker/home", "log:{folder}"]
state = "/var/lib/edge-tracker/state.json"
hang_s = 20

[page]
address = "0.0.0.0:8080"
token = "${PAGE_TOKEN}"

[tracker]
tracker = "fast"
settings = ["belief.lost_after=8"]

[[camera]]
name = "front door"
source = "rtsp://admin:${CAM_PASSWORD}@10.0.0.7/stream?key=abc123"
init = ["motion:3"]
output = ["record:{folder}?before=5"]
motion = { smallest = 0.01, ignore = [[0, 0, 1, 0.2]] }
live.frame_timeout_s = 3

[[camera]]
name = "gate"
source = "camera:0"
init = ["car=10,20,30,40", "detector:mqtts://broker/frigate/events?camera=gate"]
"""
SECRETS = {"BROKER_PASSWORD": 'a"b\\c#]', "CAM_PASSWORD": "se/cr?et@1", "PAGE_TOKEN": "sixteen-characters-x"}


def written(folder: Path, text: str) -> Path:
    path = folder / "edge-tracker.toml"
    path.write_text(text.replace("{folder}", str(folder)))
    return path


@pytest.fixture
def config_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    return written(tmp_path, WHOLE)


def test_all_of_it_is_read(config_file: Path) -> None:
    config = load_config(config_file)
    front, gate = config.camera
    assert front.source == "rtsp://admin:se%2Fcr%3Fet%401@10.0.0.7/stream?key=abc123"
    assert MqttAddress.parse(config.output[0]).password == SECRETS["BROKER_PASSWORD"]  # it may hold anything
    assert front.motion.smallest == 0.01
    assert front.motion.ignore == ((0.0, 0.0, 1.0, 0.2),)
    assert front.live.frame_timeout_s == 3.0
    assert front.live.first_wait_s == 1.0
    assert [wish.kind for wish in front.wishes] == ["motion"]
    assert [(wish.kind, wish.name) for wish in gate.wishes] == [("box", "car"), ("mqtt", None)]
    assert config.page.token == SECRETS["PAGE_TOKEN"]
    assert front.outputs(config.output)[-1].startswith("record:")
    assert config.tracker.settings == ("belief.lost_after=8",)
    changed = load_config(config_file, ("page.address=127.0.0.1:9", "hang_s=5"))
    assert changed.page.address == "127.0.0.1:9"
    assert changed.hang_s == 5.0


def test_show_says_all_and_no_secret_and_can_be_read_again(
    config_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["config", "show", str(config_file)]) == 0
    shown = capsys.readouterr().out
    for secret in (*SECRETS.values(), "abc123", "admin"):
        assert secret not in shown
    read = tomllib.loads(shown)
    assert read["camera"][0]["motion"]["smallest"] == 0.01
    assert read["camera"][1]["live"]["frame_timeout_s"] == 5.0  # a default
    assert read["page"]["token"] == "***"
    assert "seconds without a frame" in shown
    assert main(["config", "check", str(config_file)]) == 0
    assert "front door, gate" in capsys.readouterr().out


ONE = '[[camera]]\nsource = "0"\n'


def test_a_cameras_name_is_one_line_and_is_escaped_in_addresses(tmp_path: Path) -> None:
    text = (
        ONE + 'name = "front\\ndoor"\noutput = ["https://h/hook?camera={camera}", "{camera}.csv", "mqtt://h/{camera}"]'
    )
    (camera,) = load_config(written(tmp_path, text)).camera
    assert camera.name == "front door"
    assert camera.outputs(()) == ["https://h/hook?camera=front%20door", "front door.csv", "mqtt://h/front%20door"]


@pytest.mark.parametrize(
    ("given", "put"), [("a%41b", "a%41b"), ("50%", "50%25"), ("u:v@w", "u%3Av%40w"), ("é", "%C3%A9")]
)
def test_a_password_of_the_environment_is_escaped_once(
    given: str, put: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET", given)
    text = '[[camera]]\nname = "${SECRET}"\nsource = "rtsp://x:${SECRET}@h/${SECRET}"\ninit = ["detector:mqtt://${SECRET}@h"]'
    (camera,) = load_config(written(tmp_path, text)).camera
    assert camera.name == given
    assert camera.source == f"rtsp://x:{put}@h/{given}"
    assert camera.init == (f"detector:mqtt://{put}@h",)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "camera"),
        ("camera = 5", "camera"),
        ("x = [", "no TOML"),
        ("#" * (2 << 20), "too large"),
        ("a" + chr(0), "no TOML"),
        ('[[camera]]\nname = "x"', "source"),
        (ONE + 'sorce = "1"', "did you mean"),
        ("[[camera]]\nsource = 5", "a text"),
        (ONE + ONE, "two cameras are called camera"),
        (ONE + 'name = ""', "name"),
        (ONE + 'name = "a b"\n' + ONE + 'name = "a/b"', "files of the same names"),
        (ONE + 'output = ["{folder}/edge-tracker.csv"]\nname="x"\n[page]\ntoken="sixteen characters\\n"', "printed"),
        ('state = "{folder}/edge-tracker.toml"\n' + ONE, "overwrite what is read"),
        ('output = ["mqtt://h?client=x"]\n' + ONE + "[[camera]]\nsource = '1'\nname = 'b'", "client=NAME"),
        ('state = "x.csv"\n' + ONE + 'output = ["x.csv"]', "overwrite another output"),
        ('state = "."\n' + ONE, "it is a folder"),
        ('state = "s.json"\n[[camera]]\nsource = "clip.mp4"', "every source is a file"),
        (ONE + 'output = ["jsonl:."]', "it is a folder"),
        (ONE + 'output = ["csv:{folder}"]', "it is a folder"),
        (ONE + 'init = "motion"', "list"),
        (ONE + 'init = ["moton"]', "moton"),
        (ONE + 'init = ["1,2,3"]', "1,2,3"),
        (ONE + 'init = ["detector:"]', "detector"),
        (ONE + "live.frame_timeout_s = 0", "frame_timeout_s"),
        (ONE + 'live.frame_timeout_s = "5"', "frame_timeout_s"),
        (ONE + "live.frame_timout_s = 5", "did you mean"),
        (ONE + "fps = -1", "fps"),
        (ONE + "targets.most = 1000", "most"),
        (ONE + "motion.ignore = [[0, 0, 2, 1]]", "between 0 and 1"),
        (ONE + 'output = ["tracks.xyz"]', "cannot tell"),
        (ONE + 'output = ["a.csv", "./a.csv"]', "overwrite"),
        ('[page]\naddress = "x"\n' + ONE, "HOST"),
        ('[page]\naddress = "127.0.0.1:99999"\n' + ONE, r"toml: page: the page's address is"),
        ('[page]\ntoken = "short"\n' + ONE, "toml: page: a token has at least 16"),
        (ONE + 'init = ["nan,1,2,3"]', "the numbers of a box are finite"),
        ('[[camera]]\nsource = "rtsp://u:hush@h/\\u0000"', "source holds the character 0"),
        ('state = "\\u0000"\n' + ONE, "state holds the character 0"),
        (ONE + 'output = ["a\\u0000.csv"]', "output holds the character 0"),
        (ONE + '[tracker]\nmodel = "\\u0000.onnx"', "model holds the character 0"),
        ("hang_s = 0\n" + ONE, "hang_s"),
        ('[[camera]]\nsource = "rtsp://${NOT_SET_ANYWHERE}/"', "NOT_SET_ANYWHERE"),
        (ONE + "init = [" + ", ".join(f'"{10 * k},0,9,9"' for k in range(9)) + "]", "targets.most is 8"),
        (ONE + 'init = ["gate=1,2,3,4", "gate=50,2,3,4"]', "called 'gate'"),
    ],
)
def test_what_is_wrong_is_one_line_that_says_where(
    tmp_path: Path, text: str, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path, text)
    with pytest.raises(EdgeTrackerError, match=says):
        load_config(path)
    for command in (["config", "check"], ["config", "show"], ["serve"]):
        assert main([*command, str(path)]) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        assert says.split(".")[0] in error


def test_a_state_is_taken_where_one_source_of_several_is_live(tmp_path: Path) -> None:
    text = 'state = "s.json"\n[[camera]]\nsource = "clip.mp4"\nname = "clip"\n' + ONE
    assert load_config(written(tmp_path, text)).state == "s.json"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('settings = ["foo=1"]', "no setting 'foo'"),
        ('settings = ["box.trust=nan,0,0"]', "box.trust"),
        ('model = "nope"', "no model 'nope'"),
        ('model = "nope.onnx"', "no model file"),
        ('tracker = "fsat"', "no tracker 'fsat'"),
        ('tracker = "fmst"\nsettings = ["roi_scael=3"]', "did you mean 'roi_scale'"),
        ('engine = "onnx"', "engine"),
        ('models_dir = "nowhere"', "no folder nowhere"),
        ('weight_network = "nowhere.safetensors"', "only fmst-net"),
    ],
)
def test_a_tracker_that_cannot_be_made_is_told_by_check_and_serve(
    text: str, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path, f'[[camera]]\nsource = "rtsp://127.0.0.1:9/x"\n[tracker]\n{text}\n')
    for command in (["config", "check"], ["serve"]):
        assert main([*command, str(path)]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert says in line


def test_files_that_are_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "latin.toml").write_bytes(b'name = "\xe4"')
    (tmp_path / "big.toml").write_bytes(b"#" * 2_000_000)
    (tmp_path / "deep.toml").write_text("a = " + "[" * 50_000)
    for name in ("none.toml", "latin.toml", "big.toml", "deep.toml", "."):
        assert main(["config", "check", str(tmp_path / name)]) == 2
        assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("1,2,3,4", "box"),
        ("-1.5, 2,3e1,4", "box"),
        ("a=b=1,2,3,4", "box"),
        ("motion", "motion"),
        ("motion:12", "motion"),
        ("detector:./detect.py --model x", "program"),
        ("detector:mqtt://h/t", "mqtt"),
    ],
)
def test_wishes(text: str, kind: str) -> None:
    assert parsed_wish(text).kind == kind


@pytest.mark.parametrize(
    "text",
    [
        "",
        "motion:",
        "motion:x",
        "motion:0",
        "motion:65",
        "=1,2,3,4",
        "1,2,3",
        "a=1,2,3,x",
        "detector:  ",
        "x" * 50 + "=1,2,3,4",
    ],
)
def test_wishes_that_are_none(text: str) -> None:
    with pytest.raises(EdgeTrackerError):
        parsed_wish(text)


def test_secrets_are_masked_whatever_stands_before_the_address() -> None:
    assert "pw" not in without_secrets("detector:mqtt://user:pw@h/topic")
    assert without_secrets("motion:3") == "motion:3"
    assert without_secrets("https://h/hook?token=abc") == "https://h/hook?token=***"


def test_errors_of_the_configuration_are_of_our_family() -> None:
    assert issubclass(ConfigError, EdgeTrackerError)
