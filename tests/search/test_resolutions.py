"""Spaces in which the resolution is a choice: an axis from small images to large ones, and none where there is one."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch

from edgekd.errors import UsageError
from edgekd.models.build import build
from edgekd.models.kernels import kernels, macs
from edgekd.recipe import ModelSpec
from edgekd.search.space import Space, create
from edgekd.search.supernet.weights import SharedWeights

SHAPE = (1, 16, 16)
FEW: dict[str, dict[str, Any]] = {
    "resnet": {"depths": [8], "growths": [1.0], "multipliers": [0.5, 1.0]},
    "resnet-stages": {"widths": [0.5, 1.0], "blocks": [1]},
    "mobilenetv2": {"widths": [0.25, 0.5], "depths": [0.5], "expansions": [0.34]},
}
each_space = pytest.mark.parametrize("name", FEW)


def space(name: str, *shrinks: int, teacher: int = 1) -> Space:
    family = "mobilenetv2" if name == "mobilenetv2" else "resnet"
    options = {"shrinks": list(shrinks)} if shrinks else {}
    return create(name, {**FEW[name], **options}, ModelSpec(name=family, options={"shrink": teacher}), 8)


def factors(found: Space) -> set[int]:
    return {spec.options.get("shrink", 1) for spec in found.choices()}


@each_space
def test_one_resolution_is_no_axis_and_leaves_the_space_as_it_was(name: str) -> None:
    plain, one = space(name), space(name, 1)
    assert one.axes() == plain.axes()
    assert one.choices() == plain.choices()
    assert all("shrink" not in spec.options for spec in plain.choices())


@each_space
def test_the_axis_goes_from_small_images_to_large_ones(name: str) -> None:
    found, plain = space(name, 1, 4, 2), space(name)
    *others, axis = found.axes()
    assert (tuple(others), axis.size, axis.ordered) == (plain.axes(), 3, True)
    rest = plain.distinct()[-1]
    assert [found.at((*rest, at)).options.get("shrink", 1) for at in range(3)] == [4, 2, 1]
    assert [found.macs((*rest, at)) for at in range(3)] == [plain.macs(rest) / n**2 for n in (4, 2, 1)]
    assert found.rows((*rest, 0)) == plain.rows(rest)


@each_space
def test_its_networks_are_distinct_and_ordered_by_what_they_multiply(name: str) -> None:
    choices = space(name, 1, 2).choices()
    assert len({spec.model_dump_json() for spec in choices}) == 2 * len(space(name).choices())
    costs = [macs(kernels(build(spec, SHAPE, 4), SHAPE)) for spec in choices]
    assert all(
        later > 0.8 * earlier for earlier, later in pairwise(costs)
    )  # it leaves out the first and the last layer


@each_space
def test_factors_are_times_the_teachers_own(name: str) -> None:
    assert factors(space(name, 1, 2, teacher=2)) == {2, 4}
    assert factors(space(name, teacher=2)) == {2}


@each_space
def test_resolutions_share_their_weights(name: str) -> None:
    found = space(name, 1, 2)
    shared = SharedWeights(found, found.distinct(), SHAPE, 4)
    images = torch.randn((4, *SHAPE), generator=torch.Generator().manual_seed(0))
    for point in shared.points:
        assert torch.allclose(shared.through(point, images), shared.network(point).train()(images), atol=1e-4)
    *rest, _ = shared.points[-1]
    small, large = (shared.network((*rest, at)).state_dict() for at in (0, 1))
    assert all(torch.equal(small[key], large[key]) for key in large)


def test_a_factor_below_one_is_refused() -> None:
    with pytest.raises(UsageError, match=r"options of search space 'resnet'.*shrinks"):
        space("resnet", 0)
