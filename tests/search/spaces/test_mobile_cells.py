from __future__ import annotations

from typing import Any

import pytest

from edgekd.errors import UsageError
from edgekd.recipe import ModelSpec
from edgekd.search.cells import CellSpace
from edgekd.search.space import create

ROWS = [{"channels": 8, "repeats": 2}, {"channels": 16, "repeats": 3, "stride": 2}]
OPTIONS: dict[str, Any] = {"stem": 8, "rows": ROWS, "kernels": [3, 5], "expansions": [1, 2], "widths": [1.0]}


def made(**changes: object) -> CellSpace:
    space = create("mobile-cells", {**OPTIONS, **changes}, ModelSpec(factory="my_networks:any"), 8)
    assert isinstance(space, CellSpace)
    return space


def test_every_place_may_hold_every_cell_and_stay_empty_where_the_shape_stays() -> None:
    skeleton = made().skeleton(1.0)
    assert [len(edge.operators) for edge in skeleton.edges] == [4, 5, 4, 5, 5]
    assert [edge.operators[-1] is None for edge in skeleton.edges] == [False, True, False, True, True]
    assert (skeleton.stem, skeleton.width, skeleton.most) == (8, 16, 5)


def test_a_network_of_one_cell_is_what_the_skeleton_makes_of_it() -> None:
    space = made(depths=[0.3, 1.0])
    skeleton = space.skeleton(1.0)
    assert space.at((0, 1, 1, 0)) == skeleton.spec([2] * 5)
    assert space.at((0, 0, 0, 1)) == skeleton.spec([1, 4, 1, 4, 4])


def test_an_even_kernel_is_refused() -> None:
    with pytest.raises(UsageError, match="4 is no kernel; kernels are odd"):
        made(kernels=[4])
