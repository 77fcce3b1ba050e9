"""What several converters' tests need."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from calibration.crops import Crops
from tests.conftest import Clip


@pytest.fixture(scope="session")
def crops_file(clip: Clip, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve crops of the synthetic clip, four held out."""
    path = tmp_path_factory.mktemp("crops") / "crops.safetensors"
    images = np.stack([image[8:232, 40:264] for image in clip.images[:96:8]])
    Crops(images, np.arange(12) >= 8, np.array(["clip"] * 12)).save(path)
    return path
