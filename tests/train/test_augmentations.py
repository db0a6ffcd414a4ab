"""Contract suite: every augmentation replays from its seeds."""

from __future__ import annotations

import time

import numpy as np
import pytest
import torch
from torch import Tensor

from edgekd.models.build import build
from edgekd.recipe import DataSpec, ModelSpec
from edgekd.train.augment import AUGMENTATIONS, Augmentation, augmentation, seeds

SHAPES = [(1, 28, 28), (3, 20, 32)]


def named(name: str) -> Augmentation:
    return augmentation(DataSpec(name="mnist5k", augmentation=name))


def images(shape: tuple[int, int, int], samples: int = 33) -> Tensor:
    return torch.randn(samples, *shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", AUGMENTATIONS.names())
def test_a_sample_depends_on_its_seed_alone(name: str, shape: tuple[int, int, int]) -> None:
    augment, x, drawn = named(name), images(shape), seeds(0, 0, np.arange(33))
    whole = augment(x, drawn)
    order = torch.randperm(33, generator=torch.Generator().manual_seed(1))
    assert torch.equal(augment(x[order], drawn[order]), whole[order])
    assert torch.equal(augment(x[7:8], drawn[7:8]), whole[7:8])
    torch.manual_seed(5)
    assert torch.equal(augment(x, drawn), whole)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", AUGMENTATIONS.names())
def test_shape_type_range_and_input_are_kept(name: str, shape: tuple[int, int, int]) -> None:
    x = images(shape)
    before = x.clone()
    y = named(name)(x, seeds(0, 0, np.arange(33)))
    assert y.shape == x.shape
    assert y.dtype == x.dtype
    assert torch.equal(x, before)
    assert torch.all(y >= x.amin((2, 3), keepdim=True) - 1e-5)
    assert torch.all(y <= x.amax((2, 3), keepdim=True) + 1e-5)


@pytest.mark.parametrize("name", AUGMENTATIONS.names())
def test_an_empty_image_stays_as_it_is(name: str) -> None:
    x = torch.full((4, 1, 28, 28), -0.42)
    torch.testing.assert_close(named(name)(x, seeds(0, 0, np.arange(4))), x)


@pytest.mark.parametrize("name", [name for name in AUGMENTATIONS.names() if name != "none"])
def test_other_seeds_give_other_images(name: str) -> None:
    x = images(SHAPES[0], 1).expand(200, -1, -1, -1)
    y = named(name)(x, seeds(0, 0, np.arange(200)))
    assert len(torch.unique(y.flatten(1), dim=0)) > 80  # crop-flip has 162 outcomes


@pytest.mark.parametrize("name", AUGMENTATIONS.names())
def test_it_costs_a_small_share_of_a_training_step(name: str) -> None:
    model = build(ModelSpec(name="resnet"), SHAPES[0], 10).to(memory_format=torch.channels_last).train()
    x, drawn, augment = images(SHAPES[0], 64), seeds(0, 0, np.arange(64)), named(name)
    drawing, training = [], []
    for _ in range(4):
        started = time.process_time()
        y = augment(x, drawn)
        middle = time.process_time()
        model(y.contiguous(memory_format=torch.channels_last)).sum().backward()
        drawing.append(middle - started)
        training.append(time.process_time() - middle)
    assert min(drawing) < 0.15 * min(training)
