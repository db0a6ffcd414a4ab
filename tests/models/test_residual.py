from __future__ import annotations

import pytest

from edgekd.errors import UsageError
from edgekd.models.build import build
from edgekd.models.kernels import kernels
from edgekd.models.residual import ResNetShape

SHAPE = (3, 16, 16)


@pytest.mark.parametrize("shrink", [1, 2])
@pytest.mark.parametrize("blocks", [(1, 1, 1), (2, 2, 2), (1, 3, 2)])
def test_a_shape_is_said_in_a_recipe_and_read_again(blocks: tuple[int, ...], shrink: int) -> None:
    shape = ResNetShape((8, 16, 24), blocks, shrink)
    assert ResNetShape.of(shape.spec.options) == shape
    assert ("depth" in shape.spec.options) == (len(set(blocks)) == 1)
    assert ("shrink" in shape.spec.options) == (shrink > 1)


@pytest.mark.parametrize("shrink", [1, 2, 4])
@pytest.mark.parametrize("blocks", [(1, 1, 1), (1, 3, 2)])
def test_what_it_multiplies_is_what_the_built_network_multiplies_in_its_blocks(
    blocks: tuple[int, ...], shrink: int
) -> None:
    shape = ResNetShape((8, 16, 24), blocks, shrink)
    inside = [k for k in kernels(build(shape.spec, SHAPE, 10), SHAPE) if k.name.startswith("blocks.")]
    built = sum(k.macs for k in inside)
    assert shape.macs * SHAPE[1] * SHAPE[2] == built


def test_options_that_say_no_shape_are_refused() -> None:
    with pytest.raises(UsageError, match="a depth is 6n"):
        ResNetShape.of({"depth": 9})
