"""Distillation on a trunk of four blocks and generated pictures: it learns, resumes, refuses what cannot end well."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs torch (extra 'convert-onnx')")
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))

import train_backbone as script
from safetensors.torch import save_file

from converters.trunks import TRUNKS, Block, MobileNetV3, TrunkSpec, load_trunk
from edge_tracker.backbones.cards import Training
from edge_tracker.errors import DatasetError, SourceError
from edge_tracker.settings import from_mapping, hints

# Block 3's expansion lies at stride 8, block 4's at stride 16, as in the real trunks.
TINY = (
    Block(3, 16, 16, False, False, 2),
    Block(3, 32, 16, False, False, 2),
    Block(3, 40, 24, True, True, 2),
    Block(5, 48, 24, True, True, 2),
)
CROPS, BATCH = 1600, 8
INTERRUPTED_AFTER = 10  # steps


@pytest.fixture(scope="module", autouse=True)
def _tiny() -> Iterator[None]:
    """Small crops, few of them to look at, and a trunk called edge-tiny."""
    threads = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(TRUNKS, "edge-tiny", TrunkSpec(lambda: MobileNetV3(TINY, (4,), (3,))))
        patch.setattr(script, "STAGES", ((0.6, 48), (0.2, 64), (0.2, 80)))
        patch.setattr(script, "LOOKED_AT", 8)
        patch.setattr(script, "UNIT_BATCHES", 4)
        yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """44 pictures of coloured shapes over coarse texture."""
    folder = tmp_path_factory.mktemp("images")
    random = np.random.default_rng(0)
    for number in range(44):
        coarse = random.integers(0, 256, (random.integers(4, 16), 12, 3), dtype=np.uint8)
        image = cv2.resize(coarse, (160, 120), interpolation=cv2.INTER_CUBIC if number % 2 else cv2.INTER_NEAREST)
        for _ in range(6):
            (x, y), colour = random.integers(0, 120, 2).tolist(), random.integers(0, 256, 3).tolist()
            cv2.circle(image, (x, y), int(random.integers(5, 30)), colour, -1)
            cv2.rectangle(image, (y, x), (y + 30, x + 20), colour[::-1], -1)
        cv2.imwrite(str(folder / f"{number:02d}.png"), image)
    return folder


@pytest.fixture(scope="module")
def teacher(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of a teacher: random, its norms fitted to the pictures."""
    torch.manual_seed(1)
    trunk = TRUNKS["edge-tiny"].build()
    for module in trunk.modules():
        if isinstance(module, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(module.weight, mode="fan_out" if module.groups == 1 else "fan_in")
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 0.3
    eye = script.Eye(trunk, TRUNKS["edge-tiny"]).train()
    with torch.no_grad():
        for batch in script.take(script.Crops(script.read_scenes([images])[0], 16, 64, 5), 10, torch.device("cpu")):
            eye(batch)
    path = tmp_path_factory.mktemp("teacher") / "teacher.safetensors"
    save_file(trunk.state_dict(), path)
    return path


def arguments(images: Path, teacher: Path, output: Path, *extra: str) -> list[str]:
    words = ["--student", "edge-tiny", "--teacher", "edge-tiny", "--teacher-weights", str(teacher)]
    words += ["--images", str(images), "--output", str(output), "--crops", str(CROPS), "--batch", str(BATCH)]
    return [*words, "--ema", "0.9", "--workers", "0", *extra]


@dataclass
class Run:
    """A training that was interrupted and resumed: what lay there in between, and in the end."""

    output: Path
    interrupted: dict[str, object]
    resumed: dict[str, object]
    said: str


@pytest.fixture(scope="module")
def run(images: Path, teacher: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    output = tmp_path_factory.mktemp("run") / "student.safetensors"
    steps: list[int] = []
    original = script.Training.step

    def breaks_off(self: script.Training, *args: object) -> None:
        steps.append(self.crops)
        if len(steps) > INTERRUPTED_AFTER:
            raise KeyboardInterrupt
        original(self, *args)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(script.Training, "step", breaks_off)
        assert script.main(arguments(images, teacher, output, "--look-every-s", "0")) == 130
    interrupted = json.loads(output.with_suffix(".json").read_text())
    with pytest.MonkeyPatch.context() as patch:
        said: list[str] = []
        patch.setattr("sys.stderr.write", lambda text: said.append(text) or len(text))
        assert script.main(arguments(images, teacher, output)) == 0
    return Run(output, interrupted, json.loads(output.with_suffix(".json").read_text()), "".join(said))


def test_the_loss_falls_and_the_correlation_on_unseen_scenes_rises(run: Run) -> None:
    first, last = run.interrupted["history"][0], run.resumed["history"][-1]  # type: ignore[index]
    assert set(last["correlation"]) == {"block3", "block4"}
    for block, value in last["correlation"].items():
        assert value > first["correlation"][block] + 0.15
    # In units of the teacher's variance: 1 is what its mean alone would reach.
    assert all(after < 0.8 * before for before, after in zip(first["losses"], last["losses"], strict=True))


def test_an_interrupted_training_goes_on_from_its_checkpoint(run: Run) -> None:
    before, after = run.interrupted, run.resumed
    assert before["crops"] == INTERRUPTED_AFTER * BATCH
    assert f"resuming after {INTERRUPTED_AFTER * BATCH} crops" in run.said
    assert after["history"][:INTERRUPTED_AFTER] == before["history"]  # type: ignore[index]
    assert after["crops"] == after["history"][-1]["crops"] == CROPS  # type: ignore[index]
    assert after["hours"] >= before["hours"]  # type: ignore[operator]
    assert torch.load(f"{run.output}.checkpoint", weights_only=True)["crops"] == CROPS


def test_the_weights_load_and_see_as_the_record_says(run: Run, images: Path, teacher: Path) -> None:
    student, taught = (script.make_eye("edge-tiny", path, torch.device("cpu")) for path in (run.output, teacher))
    unseen = script.take(script.Crops(script.read_scenes([images])[1], 8, 80, 1), 4, torch.device("cpu"))
    assert script.channel_correlation(student, taught, unseen) == run.resumed["correlation"]


def test_the_record_fills_a_model_card(run: Run, images: Path) -> None:
    training = from_mapping(Training, {name: run.resumed[name] for name in hints(Training)}, "the record")
    assert training.teacher.startswith("edge-tiny, teacher.safetensors, sha256 ")
    assert training.data.startswith(f"44 pictures and 0 videos (0 frames) of {images.name}; every 20th scene held out")
    first, then, second = training.command.partition("; then ")
    assert then  # the resumed one was typed without --look-every-s
    assert first == f"{second} --look-every-s 0.0"
    assert str(images.parent) not in training.command
    words = shlex.split(second)
    assert words[:2] == ["python", "scripts/train_backbone.py"]
    assert words[words.index("--crops") + 1] == str(CROPS)


def test_nothing_left_to_do_is_measured_again_and_not_noted_twice(run: Run, images: Path, teacher: Path) -> None:
    before = run.output.read_bytes()
    assert script.main(arguments(images, teacher, run.output)) == 0
    assert run.output.read_bytes() == before
    assert json.loads(run.output.with_suffix(".json").read_text()) == run.resumed


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("few images", "40 of two scenes are the least"),
        ("one scene", "1 scenes"),
        ("no folder of images", "no folder of images at"),
        ("not an image", "broken.png is not an image"),
        ("no teacher", "no weights file at"),
        ("no folder to write into", "no folder"),
        ("another suffix", "--output is a .safetensors file"),
        ("a folder in the way", "it is a folder"),
        ("a partial folder in the way", "cannot write"),
        ("rate", "--lr"),
        ("average", "--ema"),
        ("widths", "maps of different widths"),
        ("broken checkpoint", "delete it to begin anew"),
        ("empty checkpoint", "delete it to begin anew"),
        ("no checkpoint of ours", "it does not state 'training'"),
        ("checkpoint of another student", "delete it to begin anew"),
        ("checkpoint of another teacher", "is of another training (teacher)"),
        ("no finite loss", "lower --lr"),
    ],
)
def test_what_cannot_end_well_is_one_line(
    kind: str,
    message: str,
    images: Path,
    teacher: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    output = tmp_path / "s.safetensors"
    checkpoint = tmp_path / "s.safetensors.checkpoint"
    extra: list[str] = []
    if kind == "few images":
        images = some_of(images, tmp_path / "some", 39)
    elif kind == "one scene":
        images = some_of(images, tmp_path / "video" / "img", 44).parent
    elif kind == "no folder of images":
        images = tmp_path / "nowhere"
    elif kind == "not an image":
        images = some_of(images, tmp_path / "some", 44)
        (images / "broken.png").write_text("no image")
        (images / "notes.txt").write_text("of no concern")
    elif kind == "no teacher":
        teacher = tmp_path / "none.safetensors"
    elif kind == "no folder to write into":
        output = tmp_path / "none" / "s.safetensors"
    elif kind == "another suffix":
        output = tmp_path / "s.json"
    elif kind == "a folder in the way":
        output.mkdir()
    elif kind == "a partial folder in the way":
        (tmp_path / "s.partial.safetensors").mkdir()
    elif kind == "rate":
        extra = ["--lr", "0"]
    elif kind == "average":
        extra = ["--ema", "1"]
    elif kind == "widths":
        extra = ["--student", "edge-small"]
    elif kind == "broken checkpoint":
        checkpoint.write_bytes(np.random.default_rng(0).bytes(1000))
    elif kind == "empty checkpoint":
        checkpoint.touch()
    elif kind == "no checkpoint of ours":
        torch.save({"crops": 3}, checkpoint)
    elif kind.startswith("checkpoint of another"):
        other = teacher
        if kind.endswith("teacher"):
            other = tmp_path / "other.safetensors"
            save_file(load_trunk("edge-tiny", None).state_dict(), other)
        args = arguments(images, other, output, "--crops", "8")
        assert script.main(args) == 0
        if kind.endswith("student"):
            monkeypatch.setitem(TRUNKS, "edge-tiny", wider())
            save_file(load_trunk("edge-tiny", None).state_dict(), tmp_path / "wider.safetensors")
            teacher = tmp_path / "wider.safetensors"
    else:
        nothing = (torch.zeros((), requires_grad=True), [float("nan")])
        monkeypatch.setattr(script, "distillation_loss", lambda *_: nothing)
    capsys.readouterr()
    assert script.main(arguments(images, teacher, output, *extra)) == 2
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("train_backbone: ")]
    assert len(said) == 1
    assert message in said[0]


def some_of(images: Path, folder: Path, count: int) -> Path:
    """The first `count` pictures, in another folder."""
    folder.mkdir(parents=True)
    for path in sorted(images.iterdir())[:count]:
        (folder / path.name).write_bytes(path.read_bytes())
    return folder


def wider() -> TrunkSpec:
    return TrunkSpec(lambda: MobileNetV3((*TINY[:3], Block(5, 56, 24, True, True, 2)), (4,), (3,)))


def test_scenes_are_pictures_and_videos_and_none_is_on_both_sides(images: Path, tmp_path: Path) -> None:
    some_of(images, tmp_path / "a" / "img", 5)
    some_of(images, tmp_path / "photos", 40)
    large = np.zeros((500, 1000, 3), np.uint8)
    cv2.imwrite(str(tmp_path / "photos" / "large.png"), large)
    some_of(images, tmp_path / "masks", 1)
    cv2.imwrite(str(tmp_path / "masks" / "00.jpg"), cv2.imread(str(tmp_path / "masks" / "00.png")))
    learned, held_out = script.read_scenes([tmp_path, tmp_path / "photos"])  # the second is in the first
    names = [scene.name for scene in learned + held_out]
    assert len(names) == len(set(names)) == 43
    assert not any(name.endswith("masks/00.png") for name in names)  # a mask beside its picture
    assert len(held_out) == 3  # of 43, every 20th
    assert sorted(len(scene.images) for scene in learned + held_out)[-2:] == [1, 5]
    assert max(max(i.shape[:2]) for s in learned + held_out for i in s.images) == script.LONGEST_SIDE_PX
    assert script.described([tmp_path], learned + held_out).startswith("42 pictures and 1 videos (5 frames) of ")
    with pytest.raises(DatasetError, match="too few"):
        script.read_scenes([tmp_path / "a"])
    (tmp_path / "photos" / "cut.png").write_bytes((images / "00.png").read_bytes()[:100])
    with pytest.raises(SourceError, match=r"cut\.png"):
        script.read_scenes([tmp_path])


def test_crops_are_the_same_for_the_same_seed(images: Path) -> None:
    scenes, _ = script.read_scenes([images])

    def batch(seed: int) -> np.ndarray:
        return np.asarray(next(iter(script.Crops(scenes, 6, 40, seed))))

    first = batch(3)
    assert first.shape == (6, 3, 40, 40)
    assert first.dtype == np.uint8
    np.testing.assert_array_equal(first, batch(3))
    assert not np.array_equal(first, batch(4))
    assert len({crop.tobytes() for crop in first}) == 6
    assert first.std(axis=(1, 2, 3)).min() > 5  # something is to be seen in each


def maps_of(seed: int) -> np.ndarray:
    """(batch 3, 6 channels, 5, 7); channel 2 is constant, channel 4 all but."""
    maps = np.random.default_rng(seed).normal(0, np.array([1, 5, 0, 0.2, 1e-6, 3])[:, None, None], (3, 6, 5, 7))
    maps[:, 2] = 7
    return maps.astype(np.float32)


def lower_median(values: list[float] | np.ndarray) -> float:
    """torch's: the lower of the two in the middle."""
    return float(np.percentile(values, 50, method="lower"))


def test_units_are_the_inverse_variance_of_channels_that_live() -> None:
    layers = [maps_of(seed) for seed in (0, 1)]
    ((weight, alive),) = script.channel_units(lambda batch: [batch], [torch.from_numpy(m) for m in layers])
    variance = np.concatenate(layers).transpose(1, 0, 2, 3).reshape(6, -1).astype(float).var(axis=1, ddof=1)
    expected = 1 / (variance + 1e-3 * lower_median(variance))
    expected[[2, 4]] = 0
    np.testing.assert_allclose(weight.numpy(), expected, rtol=1e-5)
    assert int(alive) == 4


def test_the_loss_is_the_mean_over_living_channels_in_those_units() -> None:
    wanted, found = maps_of(0), maps_of(5)
    found[:, 2] = 1000  # what is done in a dead channel does not matter
    units = script.channel_units(lambda batch: [batch, batch], [torch.from_numpy(wanted)])
    tensors = [[torch.from_numpy(maps)] * 2 for maps in (found, wanted)]
    total, parts = script.distillation_loss(*tensors, units, 1)
    variance = wanted.transpose(1, 0, 2, 3).reshape(6, -1).astype(float).var(axis=1, ddof=1)
    errors = [
        ((found[:, c] - wanted[:, c]).astype(float) ** 2).mean() / (variance[c] + 1e-3 * lower_median(variance))
        for c in (0, 1, 3, 5)
    ]
    assert parts == pytest.approx([np.mean(errors)] * 2, rel=1e-4)
    assert float(total) == pytest.approx(np.mean(errors) * (1 + script.OUTPUT_WEIGHT), rel=1e-4)


def test_a_map_that_is_dead_altogether_costs_nothing() -> None:
    dead = torch.zeros(2, 3, 4, 4)
    units = script.channel_units(lambda batch: [batch], [dead])
    assert float(script.distillation_loss([dead + 1], [dead], units, 1)[0]) == 0


def test_correlation_is_that_of_numpy(images: Path) -> None:
    torch.manual_seed(4)
    student, taught = (script.Eye(TRUNKS["edge-tiny"].build(), TRUNKS["edge-tiny"]).eval() for _ in range(2))
    dead = taught.trunk.features[4].block[0][1]  # the norm before block 4's expansion: hard swish of 0 is 0
    with torch.no_grad():
        dead.weight[:8] = 0
        dead.bias[:8] = 0
    batches = script.take(script.Crops(script.read_scenes([images])[0], 4, 48, 0), 3, torch.device("cpu"))
    found = script.channel_correlation(student, taught, batches)
    with torch.no_grad():
        maps = [
            [torch.cat(layer).numpy() for layer in zip(*map(eye, batches), strict=True)] for eye in (student, taught)
        ]
    for index, (block, first) in enumerate((("block4", 8), ("block3", 0))):
        ours, theirs = (side[index].transpose(1, 0, 2, 3).reshape(side[index].shape[1], -1) for side in maps)
        expected = [np.corrcoef(ours[c], theirs[c])[0, 1] for c in range(first, len(ours))]
        assert found[block] == pytest.approx(lower_median(expected), abs=1e-4)


def test_a_step_moves_every_weight_of_the_student(images: Path, teacher: Path) -> None:
    """Those of the 1x1 convolutions by way of matrices that share their memory."""
    parsed = {"student": "edge-tiny", "teacher": "edge-tiny", "teacher_weights": teacher, "seed": 0}
    parsed |= {"ema": 0.9, "lr": 0.01, "weight_decay": 0.0}
    training = script.Training(argparse.Namespace(**parsed), "c", torch.device("cpu"))
    before = {name: p.detach().clone() for name, p in training.student.named_parameters()}
    (batch,) = script.take(script.Crops(script.read_scenes([images])[0], 4, 48, 0), 1, torch.device("cpu"))
    training.step(sum(m.square().mean() for m in training.student(batch)), 0.01)
    moved = {name for name, p in training.student.named_parameters() if not torch.equal(p, before[name])}
    # Squeeze-excite's hard sigmoid and its ReLU may pass no gradient to some; all else moves.
    assert {name for name in before if ".fc" not in name} <= moved
    assert all(torch.equal(p.flatten(1), m) for p, m in training.matrices)
    assert len(training.matrices) == sum(p.ndim == 4 and p.shape[2:] == (1, 1) for p in before.values()) > 4


def test_the_rate_rises_falls_and_ends_at_a_hundredth() -> None:
    rates = [script.learning_rate(done, 0.5) for done in np.linspace(0, 1, 501)]
    assert 0 < rates[0] < 0.01
    assert rates.index(max(rates)) == 10  # after 2 %
    assert max(rates) == pytest.approx(0.5)
    assert rates == sorted(rates[:11]) + sorted(rates[11:], reverse=True)
    assert script.learning_rate(0.51, 0.5) == pytest.approx(0.5 * 0.505)  # half-way down the cosine
    assert rates[-1] == pytest.approx(0.005)


def test_stages_take_their_shares() -> None:
    stages = [script.stage_of(done) for done in np.arange(1000) / 1000]
    assert [stages.count(stage) for stage in range(3)] == [600, 200, 200]
    assert stages == sorted(stages)
    assert script.stage_of(1.0) == 2


def test_the_average_forgets_its_start_and_then_follows_slowly() -> None:
    update = script.moving_average(0.9)
    average = [torch.zeros(1), torch.zeros(1, dtype=torch.int64)]
    update(average, [torch.ones(1), torch.tensor([1])], 0)
    assert float(average[0]) == pytest.approx(0.9)
    update(average, [torch.zeros(1), torch.tensor([2])], 1000)
    assert float(average[0]) == pytest.approx(0.81)
    assert int(average[1]) == 2  # what counts is copied
