"""Trunks and their conversion. With random weights, so that no file is needed; with the real ones where they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="conversion needs torch (extra 'convert-onnx')")
pytest.importorskip("onnxscript", reason="conversion needs onnxscript (extra 'convert-onnx')")

from converters.cli import float_file
from converters.plan import Network, Plan
from converters.to_onnx import TOLERANCE, correct_biases, export, for_quantisation, main, means, quantise
from converters.trunks import TRUNKS, load_state, load_trunk
from edge_tracker.backbones.base import PURPOSES, EngineOptions
from edge_tracker.backbones.engines import load_backbone
from edge_tracker.errors import ModelError
from edge_tracker.roi import Window, crop
from edge_tracker.video.synthetic import SyntheticClip

SHAPES = {
    "mobilenetv3-small": [(14, 14, 672), (28, 28, 184)],
    "mobilenetv3-large": [(14, 14, 1824), (28, 28, 360)],
    "mobilenetv3-large-minimalistic": [(14, 14, 1824), (28, 28, 360)],
    "edge-small": [(14, 14, 672), (28, 28, 184)],
    "edge-large": [(14, 14, 1824), (28, 28, 360)],
    "vgg16": [(28, 28, 512), (14, 14, 512)],
    "vgg-m": [(14, 14, 512), (28, 28, 256)],
    "edge-vgg-m": [(14, 14, 512), (28, 28, 256)],
    "edge-vgg-m-256": [(14, 14, 256), (28, 28, 256)],
}


@pytest.mark.parametrize("name", sorted(TRUNKS))
def test_onnx_equals_torch(name: str, tmp_path: Path) -> None:
    """On other crops than the converter's own check uses, of two sizes, through the engine the tracker uses."""
    output = tmp_path / f"{name}.onnx"
    assert main(["--model", name, "--random-weights", "--output", str(output)]) == 0
    stated = {tap.purpose for tap in load_trunk(name, None).taps}
    purposes = tuple(purpose for purpose in PURPOSES if purpose in stated)
    spec = TRUNKS[name]
    for side in (192, spec.input_side):
        backbone = load_backbone(output, EngineOptions(taps=purposes, height=side, width=side))
        crop = np.random.default_rng(9).integers(0, 256, (side, side, 3), dtype=np.uint8)
        rgb = torch.from_numpy(crop[..., ::-1].astype(np.float32) / 255)
        normalised = ((rgb - torch.tensor(spec.mean)) / torch.tensor(spec.std)).permute(2, 0, 1)[None]
        with torch.no_grad():
            expected = load_trunk(name, None)(normalised)
        found = backbone(crop)
        for f, e in zip(found, expected, strict=True):
            reference = e[0].permute(1, 2, 0).numpy()
            assert np.abs(f - reference).max() <= TOLERANCE * np.abs(reference).max()
    assert [f.shape for f in found] == SHAPES[name]


def test_a_wrong_graph_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """The converter's own check fails where preprocessing is folded wrongly."""
    from converters import to_onnx

    original = to_onnx.CropToTaps.__init__

    def without_mean(self: torch.nn.Module, trunk: torch.nn.Module, spec: object) -> None:
        original(self, trunk, spec)  # type: ignore[arg-type]
        self.mean_bgr.zero_()  # type: ignore[operator, union-attr]

    monkeypatch.setattr(to_onnx.CropToTaps, "__init__", without_mean)
    with pytest.raises(ModelError, match="differs from torch"):
        export(Network("mobilenetv3-small", load_trunk("mobilenetv3-small", None), TRUNKS["mobilenetv3-small"]))


def test_full_integers_of_edge_small_stay_near_float(tmp_path: Path) -> None:
    """One channel of the stem reaches far beyond the others, and rounding shifts the means of all layers behind it."""
    name = "edge-small"
    network = Network(name, load_trunk(name, float_file(name)), TRUNKS[name])
    images = [image for image, _ in SyntheticClip(frames=24)]
    crops = np.stack([crop(image, Window(20, 10, 220), TRUNKS[name].input_side) for image in images])
    floating = for_quantisation(network, plan := Plan("int8", crops[::2]))
    rounded = quantise(floating, plan)
    taps = [tap.name for tap in network.trunk.taps]
    whole, plain, corrected = (
        means(model, taps, crops[1::2]) for model in (floating, rounded, correct_biases(rounded, floating, crops[::2]))
    )
    for expected, before, after in zip(whole, plain, corrected, strict=True):
        assert np.abs(after - expected).mean() < 0.7 * np.abs(before - expected).mean()
        assert np.corrcoef(after, expected)[0, 1] > 0.98


def test_the_same_weights_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        main(["--model", "mobilenetv3-small", "--random-weights", "--output", str(tmp_path / f"{name}.onnx")])
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()


def test_no_path_of_this_machine_is_in_the_file(tmp_path: Path) -> None:
    output = tmp_path / "m.onnx"
    main(["--model", "mobilenetv3-small", "--random-weights", "--output", str(output)])
    data = output.read_bytes()
    assert b".py" not in data
    assert str(Path.home()).encode() not in data


def state(name: str = "mobilenetv3-small") -> dict[str, torch.Tensor]:
    return dict(load_trunk(name, None).state_dict())


def saved(tmp_path: Path, content: object, name: str = "weights.pth") -> Path:
    path = tmp_path / name
    torch.save(content, path)
    return path


def test_what_lies_beyond_the_trunk_is_left_out(tmp_path: Path) -> None:
    content = state()
    content["features.12.0.weight"] = torch.zeros(3)
    content["features.9.block.1.0.weight"] = torch.zeros(3)
    content["classifier.0.weight"] = torch.zeros(3)
    loaded = load_trunk("mobilenetv3-small", saved(tmp_path, content))
    assert all(torch.equal(a, b) for a, b in zip(loaded.state_dict().values(), state().values(), strict=True))


def test_a_sequential_of_features_and_pooling_loads(tmp_path: Path) -> None:
    content = {key.replace("features.", "0."): value for key, value in state().items()}
    load_trunk("mobilenetv3-small", saved(tmp_path, content))


def test_missing_surplus_and_misshapen_keys_are_named(tmp_path: Path) -> None:
    content = state()
    del content["features.4.block.2.fc1.bias"]
    content["features.3.block.7.weight"] = torch.zeros(3)
    content["features.0.0.weight"] = torch.zeros(16, 3, 5, 5)
    with pytest.raises(ModelError) as caught:
        load_trunk("mobilenetv3-small", saved(tmp_path, content))
    for key in ("features.4.block.2.fc1.bias", "features.3.block.7.weight", "features.0.0.weight (16, 3, 5, 5)"):
        assert key in str(caught.value)


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="does not fit mobilenetv3-large"):
        load_trunk("mobilenetv3-large", saved(tmp_path, state()))


def test_nan_weights_are_refused(tmp_path: Path) -> None:
    content = state()
    content["features.0.0.weight"] = content["features.0.0.weight"] * float("nan")
    with pytest.raises(ModelError, match="NaN"):
        load_trunk("mobilenetv3-small", saved(tmp_path, content))


@pytest.mark.parametrize("content", [b"", b"no zip", b"PK\x03\x04 cut"], ids=["empty", "text", "cut"])
def test_a_broken_weights_file_is_refused(content: bytes, tmp_path: Path) -> None:
    for name in ("w.pth", "w.npz"):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ModelError, match="cannot read weights from .*: it is no such file, it is damaged"):
            load_state(tmp_path / name)


def test_a_bomb_is_not_inflated(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "w.npz", **{"Conv/b": np.zeros(10_000_000, np.float32)})
    assert (tmp_path / "w.npz").stat().st_size < 1_000_000
    with pytest.raises(ModelError, match=r"would inflate to 40\d+ bytes"):
        load_state(tmp_path / "w.npz")


class Trap:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("pickled code ran",)


def test_pickled_code_does_not_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ModelError):
        load_state(saved(tmp_path, {"features.0.0.weight": Trap()}))
    assert "pickled code ran" not in capsys.readouterr().out


def test_it_refuses_without_weights(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--model", "vgg16", "--output", str(tmp_path / "x.onnx")]) == 2
    assert "--weights" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "file", "tracker"),
    [
        ("mobilenetv3-small", "mobilenet_v3_small_features.pt", "accurate"),
        ("mobilenetv3-large-minimalistic", "mobilenet_v3_large_minimalistic_trunk.npz", "fmst"),  # it has no refiner
    ],
)
def test_real_weights_track_without_bias(name: str, file: str, tracker: str, shared: Path, tmp_path: Path) -> None:
    """A new backbone's grid may lie elsewhere over the crop: the median error of its boxes shows it."""
    from functools import partial

    from edge_tracker import Tracker
    from edge_tracker.evaluation.datasets import read_tasks
    from edge_tracker.evaluation.ope import run_task

    output = tmp_path / f"{name}.onnx"
    assert main(["--model", name, "--weights", str(shared / "weights" / file), "--output", str(output)]) == 0
    sequences = ["SegTrack_frog", "TLP_CarChase2", "TLP_Mohiniyattam", "vot15_bag", "UAV_boat1", "CAVIAR_shop2"]
    errors = []
    for task in read_tasks(shared / "data" / "train", sequences):
        boxes = run_task(partial(Tracker, tracker, model=output), task).boxes
        difference = boxes[:, :2] + boxes[:, 2:] / 2 - task.boxes[:, :2] - task.boxes[:, 2:] / 2
        errors.append(np.nanmedian(difference / task.boxes[:, 2:], axis=0))
    assert np.abs(np.median(errors, axis=0)).max() < 0.06
