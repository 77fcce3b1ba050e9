"""Take one mechanism at a time out of a copy of the source, and see whether a test notices.

    python scripts/mutants.py [--only NAME ...] [--jobs 1] [--list]

A line of tests is no proof that behaviour is held: take the behaviour out, and they must fail. Each mutant replaces a
few words of one file so that the code still runs but one mechanism is gone, and names the tests that are to notice.
These must pass on the source as it is. Prints a table; the exit status is 1 if a mutant survives or does not run.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

ROOT = Path(__file__).resolve().parents[1]
COPIED = ("edge_tracker", "converters", "calibration", "scripts", "tests", "pyproject.toml")
PASSED, FAILED, NONE_RAN = 0, 1, 5  # exit statuses of pytest
LONGEST_S = 600.0

# Abbreviations of test files.
BELIEF = "tests/closed_form/test_belief.py"
PLACE = "tests/closed_form/test_place.py"
EXTENT = "tests/closed_form/test_extent.py"
AGAIN = "tests/closed_form/test_redetection.py"
PARTS = "tests/closed_form/test_parts.py"
TRACKER = "tests/closed_form/test_tracker.py"
CAMERA = "tests/closed_form/test_camera.py"
GALLERY = "tests/closed_form/test_gallery.py"
REFINER = "tests/closed_form/test_refiner.py"


@dataclass(frozen=True)
class Mutant:
    """A mechanism taken out."""

    name: str
    file: str
    old: str  # occurs once
    new: str
    tests: tuple[str, ...]  # files, or FILE::TEST


def closed_form(name: str, module: str, old: str, new: str, *tests: str) -> Mutant:
    return Mutant(name, f"edge_tracker/closed_form/{module}.py", old, new, tests)


def fmst(name: str, module: str, old: str, new: str, *tests: str) -> Mutant:
    return Mutant(name, f"edge_tracker/fmst/{module}.py", old, new, tuple(f"tests/fmst/{test}" for test in tests))


def gate(name: str, old: str, new: str) -> Mutant:
    return Mutant(name, "converters/gates.py", old, new, ("tests/converters/test_gates.py",))


MUTANTS = (
    # Where
    closed_form(
        "ridge filter never learns",
        "place",
        "self._ridge.learn(neighbourhoods(view.coarse), self._target_map(box), rate)",
        "pass",
        PLACE,
    ),
    closed_form(
        "correlation filter never learns",
        "place",
        "self._correlation.learn(spectrum, centre(self._optics.fine_grid.box(box)), rate)",
        "pass",
        PLACE,
    ),
    closed_form(
        "correlation filter does not answer", "place", "response = response + np.float32", "_ = np.float32", PLACE
    ),
    closed_form(
        "learning gate always open",
        "place",
        "return min(max((height - low) / (high - low), 0.0), 1.0)",
        "return 1.0",
        PLACE,
    ),
    closed_form("gate without effect on the ridge", "place", "settings.rate * gate", "settings.rate", PLACE),
    closed_form("gate without effect on the correlation", "place", "fine.rate * gate", "fine.rate", PLACE),
    closed_form("no motion prior", "response_map", "weighted = response * prior", "weighted = response", PLACE),
    closed_form(
        "peak not between the points",
        "response_map",
        "x = peak_of_parabola(weighted[row], column)",
        "x = column",
        PARTS,
    ),
    closed_form("no blurred views of frame 1", "first_frame", "if number % 4 == 3:", "if False:", PLACE),
    closed_form(
        "no turned views of frame 1",
        "first_frame",
        "turn, stretch = TURN * _NORMAL.inv_cdf(chances[3]), STRETCH",
        "turn, stretch = 0.0, STRETCH",
        f"{PLACE}::test_changed_views_are_turned",
    ),
    closed_form(
        "no stretched or turned views", "first_frame", "TURN, STRETCH = 0.6, 0.4", "TURN, STRETCH = 0.0, 0.0", PLACE
    ),
    closed_form("no shifted views", "first_frame", "SHIFT, ZOOM, BLUR_PX = 0.28", "SHIFT, ZOOM, BLUR_PX = 0.0", PLACE),
    closed_form(
        "no share of frame 1 in the ridge filter",
        "ridge",
        "new, a = np.float32(1 - self.anchor), self._scratch",
        "new, a = np.float32(1), self._scratch; self._a_anchored *= 0; self._b_anchored *= 0",
        PLACE,
        PARTS,
    ),
    # How large
    closed_form(
        "scale filter never learns",
        "extent",
        "if factor is not None and self._scale",
        "if False and self._scale",
        EXTENT,
    ),
    closed_form(
        "scale filter does not answer",
        "tracker",
        "scaled(box, factor or 1.0)",
        "box",
        f"{TRACKER}::test_what_follows_a_change_makes_the_difference",
    ),
    closed_form(
        "scale filter keeps nothing of frame 1",
        "scale",
        "np.float32(1 - self._anchor), np.float32(self._anchor)",
        "np.float32(1), np.float32(0)",
        PARTS,
    ),
    closed_form("size may jump in one frame", "extent", "LARGEST_FACTOR = 2.0", "LARGEST_FACTOR = 1e9", EXTENT),
    closed_form(
        "box regressor never learns",
        "extent",
        "self._regressor.learn(view.coarse, self._grid.box(box))",
        "pass",
        EXTENT,
    ),
    closed_form("refiner's own bias not taken off", "refiner", "said[:4] - self._bias", "said[:4]", EXTENT),
    closed_form(
        "refiner knows only one view of frame 1",
        "extent",
        "self._refiner.start(views)",
        "self._refiner.start(views[:1])",
        EXTENT,
    ),
    closed_form(
        "refiner followed where it denies",
        "extent",
        "errors = errors * np.array([place, place, shape, shape], np.float32)",
        "pass",
        EXTENT,
    ),
    closed_form(
        "corrections without a bound", "extent", "np.clip(errors, -largest, largest)", "np.asarray(errors)", EXTENT
    ),
    closed_form("refiner not asked in doubt", "extent", "or not steady or", "or", EXTENT),
    closed_form(
        "target may shrink to nothing",
        "tracker",
        "SMALLEST_SIDE_PX = 8.0",
        "SMALLEST_SIDE_PX = 1.0",
        f"{TRACKER}::test_a_large_target_is_not_believed_to_become_smaller_than_8_pixels",
    ),
    # Is it the target
    closed_form(
        "new views never remembered",
        "tracker",
        "self._presence.remember(view, box)",
        "pass",
        f"{TRACKER}::test_new_looks_of_the_target_are_remembered",
    ),
    closed_form(
        "colours never follow the light",
        "tracker",
        "COLOUR_RATE, COLOUR_EVERY = 0.02",
        "COLOUR_RATE, COLOUR_EVERY = 0.0",
        f"{TRACKER}::test_colours_follow_a_slow_change_of_light",
    ),
    closed_form(
        "other colours are not doubted",
        "tracker",
        "probability *= DOUBT",
        "pass",
        f"{TRACKER}::test_what_has_other_colours_is_doubted",
    ),
    closed_form("colours of the surroundings count", "colour", "(found - self._common)", "found", PARTS),
    closed_form("mean feature not taken off", "likeness", "- self._mean).reshape", ").reshape", PARTS),
    closed_form(
        "target is not seen beside",
        "tracker",
        "if probability > least:",
        "if False:",
        f"{TRACKER}::test_where_the_filters_slid_off_the_target_is_seen_beside",
    ),
    closed_form(
        "evidence without the refiner",
        "likeness",
        "self.colours.likeness(view.patch, box), match, margin)",
        "self.colours.likeness(view.patch, box), 0.0, margin)",
        f"{TRACKER}::test_the_probability_goes_by_what_the_refiner_says",
    ),
    closed_form(
        "black frames are looked at",
        "tracker",
        "return None if is_plain(patch) else",
        "return",
        f"{TRACKER}::test_a_black_spell_is_lost_and_over_when_it_ends",
    ),
    # Among look-alikes, before a moving camera
    closed_form(
        "jerks of the camera not followed",
        "tracker",
        "self.box = keep_in_frame((x + dx, y + dy, w, h)",
        "_ = ((x + dx, y + dy, w, h)",
        f"{TRACKER}::test_a_jerk_of_the_camera_is_followed",
    ),
    closed_form("a pan is taken for a jerk", "camera", "beyond = moved - self._pan", "beyond = moved", CAMERA),
    closed_form("shifts that cannot be told are believed", "camera", "if not peak >= LEAST_PEAK:", "if False:", CAMERA),
    closed_form(
        "other peaks are not kept",
        "tracker",
        "if frame % settings.others_every == 0:",
        "if False:",
        f"{TRACKER}::test_what_stands_beside_the_target_is_kept",
    ),
    closed_form(
        "no looking out",
        "tracker",
        "if frame % settings.look_out_every == 0:",
        "if False:",
        f"{TRACKER}::test_what_stands_beside_the_target_is_kept",
    ),
    closed_form(
        "margin without what was beside",
        "likeness",
        "margin = min(likeness - float(self._others.likeness(described)[0]), MOST_MARGIN)",
        "margin = MOST_MARGIN",
        GALLERY,
    ),
    closed_form("seeking weighs as following", "likeness", "self._weights[int(seeking)]", "self._weights[0]", GALLERY),
    closed_form("first description makes room", "gallery", "np.inf if stays else self._now", "self._now", GALLERY),
    closed_form(
        "seen again is not fresh",
        "gallery",
        "self._seen[nearest] = max(self._seen[nearest], self._now)",
        "pass",
        GALLERY,
    ),
    closed_form("what is known takes room again", "gallery", "if alike[nearest] > SAME:", "if False:", GALLERY),
    closed_form(
        "corrections do not go by how sure they are", "extent", "t * t / (t * t + s * s)", "min(1.0, t)", EXTENT
    ),
    closed_form(
        "identity of the first row alone", "refinement_network", "mean(axis=(2, 4))", "max(axis=(2, 4))", REFINER
    ),
    # The state machine
    closed_form("the box never leaves the target", "belief", "on * (1 - self._settings.leaving)", "on * 1.0", BELIEF),
    closed_form("the box never comes back", "belief", " + (1 - on) * self._settings.returning)", ")", BELIEF),
    closed_form(
        "one frame may say all",
        "belief",
        "evidence = min(max(_log_odds(probability), -self._most), self._most)",
        "evidence = _log_odds(probability)",
        BELIEF,
    ),
    closed_form(
        "good frames are a credit",
        "belief",
        "self._predicted(self._belief) + evidence, self._surest)",
        "self._predicted(self._belief) + evidence, 99.0)",
        BELIEF,
    ),
    closed_form(
        "a search leaves its belief",
        "belief",
        "            self._belief = self._surest\n            tracked",
        "            tracked",
        BELIEF,
    ),
    closed_form(
        "tracked as soon as not in doubt",
        "belief",
        "TrackState.TRACKED if self.confidence >= s.tracked_above",
        "TrackState.TRACKED if self.confidence >= s.uncertain_below",
        BELIEF,
    ),
    closed_form(
        "any likely look ends a search", "belief", " and self.confidence >= self._settings.found_above", "", BELIEF
    ),
    closed_form(
        "confidence is not averaged", "belief", "self._settings.rate * (probability", "1.0 * (probability", BELIEF
    ),
    # While LOST
    closed_form("search never looks in another size", "redetection", "ZOOM = 1.25", "ZOOM = 1.0", AGAIN),
    closed_form(
        "search tires of no place", "redetection", "REMEMBERED, TIRING = 5, 0.3", "REMEMBERED, TIRING = 5, 0.0", AGAIN
    ),
    closed_form(
        "scan without colours", "redetection", "score += cv2.blur(own, sides)", "_ = cv2.blur(own, sides)", AGAIN
    ),
    closed_form(
        "scan without the pattern",
        "redetection",
        "score = np.asarray(framed, np.float32)",
        "score = np.zeros_like(framed)",
        AGAIN,
    ),
    closed_form(
        "no grid between the scans", "redetection", "cycle(SCANS * (True,) + (False,))", "cycle((True,))", AGAIN
    ),
    closed_form(
        "trail never dropped", "redetection", "best.box if belief.answers(best.height) else None", "best.box", AGAIN
    ),
    closed_form(
        "trail never followed",
        "redetection",
        "self._trail: Box | None = trail",
        "self._trail: Box | None = None",
        AGAIN,
    ),
    closed_form("last good place not looked at", "redetection", "elif trailing and frame % 2:", "elif False:", AGAIN),
    closed_form(
        "what was found is not followed", "redetection", "self._found = best.box if", "self._found = None if", AGAIN
    ),
    closed_form(
        "rescaling forgets the search",
        "redetection",
        "self._search.rescaled(good, roi_px, image_size)",
        "self._search",
        AGAIN,
    ),
    closed_form(
        "last good box never moves",
        "tracker",
        "            self._good = self.box\n",
        "            pass\n",
        f"{TRACKER}::test_where_nothing_answers_the_box_is_the_last_one_that_was_believed",
    ),
    closed_form(
        "rescaling forgets the last good box",
        "tracker",
        "self.box, self._good = (rescaled(box, kx, ky, image_size) for box in (self.box, self._good))",
        "self.box = rescaled(self.box, kx, ky, image_size)",
        f"{TRACKER}::test_another_resolution_while_lost_moves_the_search_too",
    ),
    # FMST
    fmst(
        "scores never follow the target",
        "channel_scores",
        "eta * average + (1 - eta) * scores",
        "average",
        "test_channels.py",
    ),
    fmst(
        "no negative ring in map S",
        "target_map",
        "return 2 * inside - coverage(",
        "return inside + 0 * coverage(",
        "test_target_map.py",
    ),
    fmst(
        "channels taken at random",
        "channel_weights",
        "selected = scores >= lowest",
        "selected = scores <= lowest",
        "test_channels.py",
    ),
    fmst(
        "the least is not subtracted from the map",
        "candidates",
        "np.cumsum(values - b,",
        "np.cumsum(values,",
        "test_candidates.py",
    ),
    fmst(
        "candidates are not weighed by distance",
        "candidates",
        "np.maximum(1 - distance / reach, 0) * (",
        "(",
        "test_candidates.py",
    ),
    fmst(
        "the best candidate alone",
        "candidates",
        "argpartition(-confidences, averaged - 1)[:averaged]",
        "argpartition(-confidences, averaged - 1)[:1]",
        "test_candidates.py",
    ),
    fmst(
        "size is not drawn",
        "candidates",
        "mean_size + sigma_wh * draws[:, 2:]",
        "mean_size + 0 * draws[:, 2:]",
        "test_candidates.py",
    ),
    fmst(
        "negative map below zero",
        "prediction_map",
        "np.maximum(positive - np.float32(alpha) * negative, 0)",
        "positive - np.float32(alpha) * negative",
        "test_prediction_map.py",
    ),
    fmst(
        "features of frame 1 not standardised",
        "confidence",
        "(mean - self._mean) / self._deviation",
        "mean",
        "test_confidence.py",
    ),
    fmst(
        "weight network without its base",
        "weight_network",
        'if self.base == "top":',
        "if False:",
        "test_weight_network.py",
    ),
    fmst(
        "weights without a bound",
        "weight_network",
        "return np.minimum(np.maximum(values, 0), np.float32(HIGHEST_WEIGHT))",
        "return np.maximum(values, 0)",
        "test_weight_network.py",
    ),
    fmst(
        "the tracker learns nothing",
        "tracker",
        "average_scores(average, now, self.config.eta)",
        "average",
        "test_tracker.py::test_scores_follow_a_target_that_becomes_another",
    ),
    fmst(
        "the negative map is left out",
        "tracker",
        "if self._alpha > 0:",
        "if False:",
        "test_weight_network.py::test_alpha_of_the_settings_goes_before_that_of_the_network",
    ),
    fmst(
        "FMST's target may shrink to nothing",
        "tracker",
        "SMALLEST_SIDE_PX = 10.0",
        "SMALLEST_SIDE_PX = 1.0",
        "test_tracker.py::test_a_large_target_is_not_believed_to_become_smaller_than_10_pixels",
    ),
    # Gates of the converters
    gate("cosine gate lets NaN pass", "if not f.cosine >= min_cosine", "if f.cosine < min_cosine"),
    gate("no cosine gate", 'failures.append(("cosine"', 'tuple(("cosine"'),
    gate("no gate for float islands", "if report.graph.foreign:", "if False:"),
    gate("no gate for partitions", "report.graph.partitions != 1:", "report.graph.partitions < 1:"),
    gate("tracking gate lets NaN pass", "not report.tracking.drop <= max_drop", "report.tracking.drop > max_drop"),
    gate("no tracking gate", "if report.tracking is not None and not report", "if False and not report"),
    gate("a silent layer counts as equal", "np.maximum(norms, 1e-30), 0.0)", "np.maximum(norms, 1e-30), 1.0)"),
)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="part of a name; may be repeated")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="copies that are tested at once")
    parser.add_argument("--list", action="store_true", help="print the mutants and stop")
    args = parser.parse_args(arguments)
    chosen = [m for m in MUTANTS if not args.only or any(word in m.name for word in args.only)]
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
