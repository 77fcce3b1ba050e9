"""The figures of the absence protocol as a table. `absence_metrics` computes them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from edge_tracker.evaluation.absence_metrics import FOUND_WITHIN, NOTICED_WITHIN

LOST_WITHIN = f"LOST within {NOTICED_WITHIN} frames (% of absences)"
FALSE_LOST = "false LOST (% of correct boxes)"
REFOUND_WITHIN = f"re-found within {FOUND_WITHIN} frames (% of absences)"


def loss_table(rows: Sequence[tuple[str, dict[str, object]]], first: str = "kind") -> list[list[str]]:
    """The table of figures, header first: one row per name. Each header states what is counted and of what."""
    columns: list[tuple[str, Callable[[dict[str, object]], str]]] = [
        ("absences, held / all", lambda f: f"{f['absences_held']}/{f['absences']}"),
        ("frames until LOST, median", lambda f: _frames(f, "lost_after", "median")),
        ("frames until LOST, 95th percentile", lambda f: _frames(f, "lost_after", "p95")),
        (LOST_WITHIN, lambda f: _percent(_of(f, "lost_after")[f"within_{NOTICED_WITHIN}"])),
        ("never LOST (% of absences)", lambda f: _percent(_of(f, "lost_after")["never"])),
        (FALSE_LOST, lambda f: _percent(f["false_lost"], 2)),
        (REFOUND_WITHIN, lambda f: _percent(_of(f, "found_after")[f"within_{FOUND_WITHIN}"])),
        ("frames until re-found, median", lambda f: _frames(f, "found_after", "median")),
        ('precision of "present" %', lambda f: _percent(f["present_precision"])),
        ('recall of "present" %', lambda f: _percent(f["present_recall"])),
        ("AUROC of confidence", lambda f: _number(f["auroc"])),
        ("calibration error of confidence", lambda f: _number(f["calibration_error"])),
    ]
    return [[first, *(title for title, _ in columns)]] + [
        [name, *(cell(figures) for _, cell in columns)] for name, figures in rows
    ]


def _of(figures: dict[str, object], name: str) -> dict[str, float | None]:
    part = figures[name]
    assert isinstance(part, dict)
    return part


def _frames(figures: dict[str, object], name: str, what: str) -> str:
    part = _of(figures, name)
    if part["absences"] == 0:
        return "-"
    value = part[what]
    return "never" if value is None else f"{value:.0f}"


def _percent(value: object, digits: int = 1) -> str:
    return f"{100 * value:.{digits}f}" if isinstance(value, float) else "-"


def _number(value: object) -> str:
    return f"{value:.3f}" if isinstance(value, float) else "-"
