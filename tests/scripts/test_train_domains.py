"""Multi-domain training of convolutions: RoIAlign with a gradient, what learns, an interrupted run."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs torch (extra 'convert-onnx')")
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))

import train_domains as script
from safetensors.torch import load_file, save_file
from training import checkpoint_path

from converters.trunks import TRUNKS
from edge_tracker.fsnet.roi_align import roi_align

pytestmark = pytest.mark.usefixtures("torch_as_it_was")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trunk of random weights, whose maps are neither dead nor huge."""
    torch.manual_seed(0)
    trunk = TRUNKS["edge-vgg-m-256"].build()
    for parameter in trunk.parameters():
        torch.nn.init.kaiming_normal_(parameter) if parameter.ndim == 4 else torch.nn.init.zeros_(parameter)
    path = tmp_path_factory.mktemp("weights") / "random.safetensors"
    save_file(trunk.state_dict(), path)
    return path


def arguments(footage: Path, weights: Path, output: Path, cycles: int, *more: str) -> list[str]:
    return [
        "--model", "edge-vgg-m-256", "--weights", str(weights), "--data", str(footage / "boxes"),
        "--masks", str(footage / "masks"), "--output", str(output), "--cycles", str(cycles), "--frames", "4", *more,
    ]  # fmt: skip


def test_roi_align_is_that_of_the_tracker_and_has_a_gradient() -> None:
    random = np.random.default_rng(0)
    maps = random.normal(size=(2, 12, 9, 5)).astype(np.float32).cumsum(1).cumsum(2)
    boxes = np.concatenate([random.uniform(-3, 8, (2, 7, 2)), random.uniform(0.5, 6, (2, 7, 2))], axis=2)
    given = torch.from_numpy(maps.transpose(0, 3, 1, 2).copy()).requires_grad_()
    found = script.roi_align(given, torch.from_numpy(boxes).float())
    wanted = np.stack([roi_align(one, part) for one, part in zip(maps, boxes, strict=True)])
    reach = float(np.abs(np.diff(maps, axis=1)).max() + np.abs(np.diff(maps, axis=2)).max())
    np.testing.assert_allclose(found.detach().numpy(), wanted, atol=reach / 60)  # whose places are to 1/32 of a cell
    found.sum().backward()
    assert given.grad is not None
    assert float(given.grad.sum()) == pytest.approx(found.numel(), rel=1e-4)  # each value is a mean of its corners


def test_convolutions_learn_more_slowly_and_an_interrupted_training_goes_on(
    footage: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, parts, still = (tmp_path / f"{name}.safetensors" for name in ("whole", "parts", "still"))
    assert script.main(arguments(footage, weights, whole, 6, "--rate", "0.003")) == 0
    losses = [float(line.split()[3].rstrip(",")) for line in capsys.readouterr().out.splitlines() if "loss" in line]
    assert len(losses) == 6
    assert np.mean(losses[-2:]) < 0.9 * losses[0]

    class Interrupted(Exception):
        pass

    original, seen = script.visit, []

    def stopping(*args: object) -> object:
        if len(seen) == 3 * 3 + 1:  # three videos a cycle
            raise Interrupted
        seen.append(args)
        return original(*args)  # type: ignore[arg-type]

    script.visit = stopping  # type: ignore[assignment]
    try:
        with pytest.raises(Interrupted):
            script.main(arguments(footage, weights, parts, 6, "--rate", "0.003"))
    finally:
        script.visit = original
    assert checkpoint_path(parts).is_file()
    assert script.main(arguments(footage, weights, parts, 6, "--rate", "0.003")) == 0
    assert parts.read_bytes() == whole.read_bytes()
    # A part of the rate is the convolutions': with none of it they stay.
    assert script.main(arguments(footage, weights, still, 1, "--convolutions", "0")) == 0
    before, after, unmoved = load_file(weights), load_file(whole), load_file(still)
    assert before.keys() == after.keys() == unmoved.keys()
    for name in before:
        assert torch.equal(before[name], unmoved[name])
        assert not torch.equal(before[name], after[name])


def test_another_training_does_not_go_on_and_too_little_footage_is_told(
    footage: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "a.safetensors"
    assert script.main(arguments(footage, weights, output, 1)) == 0
    assert script.main(arguments(footage, weights, output, 1, "--mined", "3")) == 2
    assert "another training (mined)" in capsys.readouterr().err
    (tmp_path / "empty" / "One" / "img").mkdir(parents=True)
    wrong = arguments(footage, weights, tmp_path / "b.safetensors", 1)
    wrong[wrong.index("--data") + 1] = str(tmp_path / "empty")
    assert script.main(wrong) == 2
    assert not (tmp_path / "b.safetensors").exists()
