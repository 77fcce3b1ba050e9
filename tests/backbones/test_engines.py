"""What is true of every engine, on the packaged model; and which of several files is taken."""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edge_tracker import Tracker
from edge_tracker.backbones import catalogue, engines
from edge_tracker.backbones.base import METADATA_KEY, PRECISIONS, BackboneInfo, EngineOptions, Layer, Tap
from edge_tracker.backbones.cards import Measured, ModelCard, card_path, files_of
from edge_tracker.backbones.catalogue import PACKAGED, find_model, variants
from edge_tracker.backbones.engines import ENGINES, load_backbone, runners
from edge_tracker.backbones.host import cpu
from edge_tracker.backbones.onnxruntime_engine import OnnxRuntimeBackbone
from edge_tracker.backbones.timing import time_backbones
from edge_tracker.errors import ConfigError, ModelError
from tests.conftest import Clip

MODEL = PACKAGED / "edge-small.onnx"
NAME = "mobilenetv3-small"
TRUNK = "0" * 64


@pytest.fixture
def all_engines(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if every engine were installed: which file is taken does not depend on what this machine has."""
    monkeypatch.setattr(engines.Engine, "installed", property(lambda _: True))


def place(folder: Path, ending: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = Path(shutil.copy(MODEL, folder / f"{NAME}{ending}"))
    if path.suffix == ".xml":
        path.with_suffix(".bin").write_bytes(b"weights")
    return path


def with_card(
    path: Path, engine: str, ms: float, fp32_ms: float = 4.0, processor: str | None = None, failed: tuple[str, ...] = ()
) -> Path:
    precision = next((p for p in reversed(PRECISIONS) if path.stem.endswith(f".{p}")), "fp32")
    measured = Measured(engine, processor or cpu()[0], ms, fp32_ms, 1.0)
    ModelCard.of(
        path,
        model=NAME,
        fingerprint=TRUNK,
        licence="l",
        source="s",
        weights="w",
        precision=precision,
        failed_gates=failed,
        measured=measured,
    ).write(path)
    return path


def locate(name: str, folder: Path, engine: str = "auto") -> Path | None:
    found = catalogue.locate(name, folder, engine)
    return found and found.path


@pytest.mark.usefixtures("all_engines")
class TestTheFileTaken:
    def test_full_precision_where_nothing_is_measured(self, tmp_path: Path) -> None:
        place(tmp_path, ".int8.tflite")
        place(tmp_path, ".xml")
        full = place(tmp_path, ".onnx")
        assert locate(NAME, tmp_path) == full

    def test_the_fastest_that_pays_here(self, tmp_path: Path) -> None:
        place(tmp_path, ".onnx")
        with_card(place(tmp_path, ".int8.tflite"), "litert", 3.0)
        best = with_card(place(tmp_path, ".int8.xml"), "openvino", 2.0)
        with_card(place(tmp_path, ".int8-mixed.onnx"), "onnxruntime", 3.9)
        assert locate(NAME, tmp_path) == best
        assert find_model(NAME, tmp_path).path == best

    def test_not_what_does_not_pay(self, tmp_path: Path) -> None:
        full = place(tmp_path, ".onnx")
        with_card(place(tmp_path, ".int8.tflite"), "litert", 3.9)
        assert locate(NAME, tmp_path) == full

    def test_not_what_paid_on_another_processor(self, tmp_path: Path) -> None:
        full = place(tmp_path, ".onnx")
        with_card(place(tmp_path, ".int8.tflite"), "litert", 1.0, processor="another")
        assert locate(NAME, tmp_path) == full

    def test_not_what_was_forced(self, tmp_path: Path) -> None:
        full = place(tmp_path, ".onnx")
        forced = with_card(place(tmp_path, ".int8.tflite"), "litert", 1.0, failed=("cosine",))
        assert locate(NAME, tmp_path) == full
        assert locate(NAME, tmp_path, "litert") == forced  # there is no other for this engine

    def test_the_engine_asked_for_decides(self, tmp_path: Path) -> None:
        full = place(tmp_path, ".onnx")
        own = place(tmp_path, ".xml")
        assert locate(NAME, tmp_path, "onnxruntime") == full
        assert locate(NAME, tmp_path, "openvino") == own
        own.unlink()
        assert locate(NAME, tmp_path, "openvino") == full  # which it reads, too
        assert locate(NAME, tmp_path, "litert") is None
        with pytest.raises(ModelError, match=r"for litert \(\.tflite\)"):
            find_model(NAME, tmp_path, "litert")

    def test_of_the_nearest_folder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        near = place(tmp_path / "near", ".int8.tflite")
        place(tmp_path / "far", ".onnx")
        monkeypatch.setenv("EDGE_TRACKER_MODELS", str(tmp_path / "far"))
        assert locate(NAME, tmp_path / "near") == near
        assert len(variants(NAME, tmp_path / "near")) == 2

    def test_an_onnx_file_goes_to_the_engine_that_is_its_own(self, tmp_path: Path) -> None:
        assert runners(place(tmp_path, ".onnx")) == ["onnxruntime", "openvino"]
        assert runners(place(tmp_path, ".xml")) == ["openvino"]


def test_a_model_in_two_files_is_known_by_both(tmp_path: Path) -> None:
    path = with_card(place(tmp_path, ".int8.xml"), "openvino", 1.0)
    assert [f.suffix for f in files_of(path)] == [".xml", ".bin"]
    card = ModelCard.read(path)
    assert card is not None
    assert card.describes(path)
    path.with_suffix(".bin").write_bytes(b"Weights")
    assert not card.describes(path)


def test_cards_keep_what_was_measured(tmp_path: Path) -> None:
    path = with_card(place(tmp_path, ".int8.tflite"), "litert", 1.0, failed=("cosine", "tracking"))
    card = ModelCard.read(path)
    assert card is not None
    assert card.failed_gates == ("cosine", "tracking")
    assert card.measured == Measured("litert", cpu()[0], 1.0, 4.0, 1.0)
    text = json.loads(path.with_name(path.name + ".json").read_text())
    text["measured"]["engine"] = 3
    del text["measured"]["cpu"]
    path.with_name(path.name + ".json").write_text(json.dumps(text))
    with pytest.raises(ModelError, match="card"):
        ModelCard.read(path)


def test_an_engine_that_is_not_installed_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines.Engine, "installed", property(lambda self: self is ENGINES["onnxruntime"]))
    for engine, ending in (("openvino", ".xml"), ("litert", ".tflite")):
        with pytest.raises(ModelError, match=rf"edge-tracker\[{engine}\]"):
            load_backbone(MODEL, EngineOptions(engine))
        with pytest.raises(ModelError, match=rf"edge-tracker\[{engine}\]"):
            load_backbone(place(tmp_path, ending))
        with pytest.raises(ModelError, match=rf"edge-tracker\[{engine}\]"):
            Tracker("fmst", MODEL, engine=engine)


def test_unknown_engines_and_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="litert"):
        load_backbone(MODEL, EngineOptions("tensorrt"))
    other = tmp_path / "model.pb"
    other.touch()
    with pytest.raises(ModelError, match=r"model.pb is no model file: those end in .*\.tflite"):
        load_backbone(other)
    for tracker in ("auto", "fast"):  # what "auto" remembers is looked for by the engine
        with pytest.raises(ModelError, match="is no model file"):
            Tracker(tracker, other)
    with pytest.raises(ModelError, match=r"is not for onnxruntime, which takes \.onnx files"):
        load_backbone(place(tmp_path, ".tflite"), EngineOptions("onnxruntime"))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (lambda whole: whole[:200_000] + bytes([whole[200_000] ^ 1]) + whole[200_001:], "DIFFERS from its card"),
        (lambda whole: whole + b"\0", "DIFFERS from its card"),
        (lambda _: b"", "it is empty"),
        (lambda _: b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
    ],
    ids=["one bit", "a byte more", "empty", "pointer"],
)
def test_a_file_that_is_not_as_its_card_says_is_not_used(
    content: Callable[[bytes], bytes], says: str, tmp_path: Path
) -> None:
    path = tmp_path / MODEL.name
    shutil.copy(card_path(MODEL), tmp_path)
    path.write_bytes(content(MODEL.read_bytes()))
    for make in (
        lambda: load_backbone(path),
        lambda: Tracker("fast", path),
        lambda: Tracker("auto", path),
        lambda: Tracker("fmst", "edge-small", models_dir=tmp_path),
    ):
        with pytest.raises(ModelError, match=says):
            make()


def test_the_precision_survives_the_metadata() -> None:
    taps = (Tap("stride16", 16, (Layer("a", 3),)),)
    for precision in PRECISIONS:
        info = BackboneInfo("m", 224, 224, taps, TRUNK, precision)
        assert BackboneInfo.from_metadata({METADATA_KEY: info.to_metadata()}, "m") == info
    text = BackboneInfo("m", 224, 224, taps, TRUNK, "int8").to_metadata().replace("int8", "int5")
    with pytest.raises(ModelError, match="precision is one of"):
        BackboneInfo.from_metadata({METADATA_KEY: text}, "m")


def test_times_are_those_of_each_backbone(edge_small: OnnxRuntimeBackbone) -> None:
    class Slow:
        info = edge_small.info

        def __call__(self, crop: np.ndarray) -> list[np.ndarray]:
            for _ in range(6):
                features = edge_small(crop)
            return features

    (fast, fast_p95), (slow, _) = time_backbones([edge_small, Slow()], crops=20)
    assert fast <= fast_p95
    assert slow > 2 * fast


class TestOpenVino:
    @pytest.fixture(autouse=True)
    def _needs_openvino(self) -> None:
        pytest.importorskip("openvino", reason="needs openvino (extra 'openvino')")

    def test_it_gives_what_onnxruntime_gives(self, edge_small: OnnxRuntimeBackbone) -> None:
        backbone = load_backbone(MODEL, EngineOptions("openvino"))
        assert backbone.info == edge_small.info
        for seed in range(3):
            crop = np.random.default_rng(seed).integers(0, 256, (224, 224, 3), dtype=np.uint8)
            (ours,), (theirs,) = backbone(crop), edge_small(crop)
            assert ours.dtype == np.float32
            np.testing.assert_allclose(ours, theirs, atol=1e-4)

    def test_earlier_features_stay_what_they_were(self) -> None:
        backbone = load_backbone(MODEL, EngineOptions("openvino"))
        (first,) = backbone(np.zeros((224, 224, 3), np.uint8))
        copy = first.copy()
        backbone(np.full((224, 224, 3), 200, np.uint8))
        np.testing.assert_array_equal(first, copy)

    def test_it_tracks(self, clip: Clip) -> None:
        tracker = Tracker("fmst", MODEL, engine="openvino")
        tracker.init(clip.images[0], clip.first_box)
        boxes = [tracker.update(image).box for image in clip.images[1:10]]
        assert np.abs(np.array(boxes)[:, :2] - clip.boxes[1:10, :2]).max() < 15

    @pytest.mark.parametrize("content", [b"", b"<net", b"no model"])
    @pytest.mark.parametrize("ending", [".xml", ".onnx"])
    def test_a_broken_file_is_one_line(self, content: bytes, ending: str, tmp_path: Path) -> None:
        path = tmp_path / f"broken{ending}"
        path.write_bytes(content)
        with pytest.raises(ModelError, match="broken") as caught:
            load_backbone(path, EngineOptions("openvino"))
        assert "\n" not in str(caught.value)


class TestLiteRt:
    """Files it must refuse; those it takes are made, and tried, in tests/converters/test_to_tflite.py."""

    @pytest.fixture(autouse=True)
    def _needs_litert(self) -> None:
        pytest.importorskip("ai_edge_litert", reason="needs ai-edge-litert (extra 'litert')")

    def test_its_word_of_the_delegate_stays_off_the_terminal(self, capfd: pytest.CaptureFixture[str]) -> None:
        load_backbone(PACKAGED / "edge-small.int8-mixed.tflite", EngineOptions("litert"))
        assert capfd.readouterr().err == ""

    @staticmethod
    def archive(path: Path, text: str) -> None:
        with zipfile.ZipFile(path, "w") as file:
            file.writestr(f"{METADATA_KEY}.json", text)

    @pytest.mark.parametrize("kind", ["empty", "text", "no metadata", "metadata alone", "malformed metadata"])
    def test_a_broken_file_is_one_line(self, kind: str, tmp_path: Path) -> None:
        path = tmp_path / "broken.tflite"
        makers: dict[str, Callable[[], object]] = {
            "empty": path.touch,
            "text": lambda: path.write_text("no model"),
            "no metadata": lambda: zipfile.ZipFile(path, "w").close(),
            "metadata alone": lambda: self.archive(
                path, BackboneInfo("m", 8, 8, (Tap("a", 4, (Layer("b", 1),)),), TRUNK).to_metadata()
            ),
            "malformed metadata": lambda: self.archive(path, "[]"),
        }
        makers[kind]()
        with pytest.raises(ModelError, match=r"broken\.tflite") as caught:
            load_backbone(path)
        assert "\n" not in str(caught.value)
