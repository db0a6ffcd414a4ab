"""The contract of search spaces, over every space found."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from edgekd.models.build import build
from edgekd.models.kernels import kernels, macs
from edgekd.recipe import ModelSpec
from edgekd.search.space import SPACES, Space, create

SHAPE = (1, 16, 16)
TEACHER = ModelSpec(name="resnet", options={"depth": 20, "channels": [16, 32, 64]})


def space_called(name: str, step: int = 8) -> Space:
    return create(name, {}, TEACHER, step)


@pytest.mark.parametrize("name", SPACES.names())
def test_every_choice_builds_and_runs(name: str) -> None:
    for spec in space_called(name).choices():
        with torch.no_grad():
            assert build(spec, SHAPE, 4).eval()(torch.zeros(2, *SHAPE)).shape == (2, 4)


@pytest.mark.parametrize("name", SPACES.names())
def test_choices_are_distinct_and_ordered_by_cost(name: str) -> None:
    choices = space_called(name).choices()
    assert len(choices) >= 3
    assert len({spec.model_dump_json() for spec in choices}) == len(choices)
    costs = [macs(kernels(build(spec, SHAPE, 4), SHAPE)) for spec in choices]
    assert all(later > 0.97 * earlier for earlier, later in pairwise(costs))
    assert costs[0] < costs[-1] / 3


@pytest.mark.parametrize("name", SPACES.names())
def test_corners_are_choices(name: str) -> None:
    space = space_called(name)
    assert space.smallest() == space.choices()[0]
    assert space.largest() == space.choices()[-1]


@pytest.mark.parametrize("name", SPACES.names())
@pytest.mark.parametrize("step", [8, 16])
def test_widths_are_multiples_of_the_step(name: str, step: int) -> None:
    for spec in space_called(name, step).choices():
        found = kernels(build(spec, SHAPE, 4), SHAPE)
        assert all(kernel.out_channels % step == 0 for kernel in found if kernel.op == "conv")
