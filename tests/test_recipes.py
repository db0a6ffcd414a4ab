"""Every shipped recipe loads, and every name in it exists."""

from __future__ import annotations

import pytest
import torch

from edgekd import catalogue, recipe
from edgekd.models.build import build
from edgekd.pipeline.stages import configured
from edgekd.train.augment import augmentation
from edgekd.train.dataset import DATASETS


@pytest.mark.parametrize("name", catalogue.names("recipes"))
def test_recipe_is_sound(name: str) -> None:
    loaded = recipe.load(catalogue.find("recipes", name))
    assert loaded.title
    assert loaded.data.name in DATASETS.names()
    augmentation(loaded.data)
    with torch.device("meta"):
        build(loaded.model, (1, 28, 28), 10)
    stages = [stage.name for stage in configured(loaded)]
    assert "teacher" in stages[:2]
    assert stages[-2:] == ["export", "measure"]
