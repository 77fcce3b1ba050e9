from __future__ import annotations

import dataclasses

import pytest

from edge_tracker import FmstConfig
from edge_tracker.errors import ConfigError


@pytest.mark.parametrize(
    "settings",
    [
        {"maps": "X"},
        {"layers": "both"},
        {"fraction": 0.0},
        {"fraction": 1.5},
        {"eta": -0.1},
        {"candidates": 0},
        {"averaged": 0},
        {"averaged": 10, "candidates": 5},
        {"sigma_xy": float("nan")},
        {"roi_scale": 0.5},
        {"seed": -1},
    ],
    ids=str,
)
def test_a_setting_out_of_range_is_named(settings: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=next(iter(settings)) if "averaged" not in settings else "averag"):
        FmstConfig(**settings)  # type: ignore[arg-type]


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        FmstConfig().eta = 0.5  # type: ignore[misc]
