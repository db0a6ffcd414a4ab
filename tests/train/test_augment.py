"""Seeds and the numbers drawn from them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from edgekd.errors import UsageError
from edgekd.recipe import DataSpec
from edgekd.train.augment import augmentation, background, seeds, uniform

SAMPLES = np.arange(20_000)


def test_every_sample_epoch_and_run_has_its_own_seed() -> None:
    together = torch.cat([seeds(seed, epoch, SAMPLES) for seed in (0, 1) for epoch in (0, 1, 2)])
    assert together.dtype == torch.int64
    assert len(together.unique()) == len(together)
    assert together.min() >= 0
    assert torch.equal(seeds(3, 7, SAMPLES)[5:9], seeds(3, 7, SAMPLES[5:9]))


def test_values_are_uniform_and_unrelated() -> None:
    values = uniform(seeds(0, 0, SAMPLES), 4)
    assert values.shape == (20_000, 4)
    assert values.dtype == torch.float32
    assert 0 <= values.min() < values.max() < 1
    counts = torch.histc(values[:, 2], bins=20, min=0, max=1)
    chi_squared = ((counts - 1000) ** 2 / 1000).sum()
    assert chi_squared < 43.8  # 99.9 % quantile for 19 degrees of freedom
    neighbours = torch.cat([values.T, values.roll(1, 0).T])
    related = torch.corrcoef(neighbours) - torch.eye(8)
    assert related.abs().max() < 0.035  # five standard errors


def test_more_values_leave_the_first_ones_alone() -> None:
    drawn = seeds(0, 0, SAMPLES[:10])
    assert torch.equal(uniform(drawn, 6)[:, :2], uniform(drawn, 2))


def test_background_is_per_image_and_channel() -> None:
    images = torch.rand(3, 2, 5, 5) + torch.arange(6).reshape(3, 2, 1, 1)
    assert background(images).shape == (3, 2, 1, 1)
    assert background(images).flatten().floor().tolist() == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"augmentation": "afine"}, "did you mean 'affine'"),
        ({"augmentation": "affine", "augmentation_options": {"degree": 3}}, "did you mean 'degrees'"),
    ],
)
def test_faults_of_a_specification_are_named(spec: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        augmentation(DataSpec.model_validate({"name": "mnist5k", **spec}))
