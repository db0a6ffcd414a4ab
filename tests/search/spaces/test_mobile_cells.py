from __future__ import annotations

from typing import Any

import pytest

from edgekd.errors import UsageError
from edgekd.recipe import ModelSpec
from edgekd.search.candidate import candidate
from edgekd.search.cells import CellSpace, in_words
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


def test_excitation_squeezes_to_a_quarter_of_the_hidden_channels_in_whole_steps() -> None:
    excited = made(squeezes=[True], expansions=[1, 6]).at((0, 0, 0, 1))
    assert [cell["squeeze"] for cell in excited.options["cells"]] == [16, 16, 16, 24, 24]  # of 48, and from 12 up; 96
    assert all("squeeze" not in cell for cell in made().at((0, 0, 0, 1)).options["cells"])


def test_excitation_is_an_axis_only_where_there_is_a_choice_and_the_dearer_side_of_it() -> None:
    assert [axis.size for axis in made(squeezes=[True]).axes()] == [axis.size for axis in made().axes()] == [1, 1, 2, 2]
    both = made(squeezes=[False, True])
    assert (both.axes()[-1].size, both.axes()[-1].ordered) == (2, False)
    found = both.choices()
    assert found[: len(found) : len(found) - 1] == [both.at((0, 0, 0, 0, 0)), both.at((0, 0, 1, 1, 1))]
    assert [spec for spec in found if "squeeze" not in spec.options["cells"][0]] == made().choices()
    for spec in (found[0], found[-1]):
        candidate("one", spec, (1, 12, 12), 4)


def test_every_place_may_be_excited_or_not() -> None:
    both = made(squeezes=[False, True])
    skeleton = both.skeleton(1.0)
    assert [len(edge.operators) for edge in skeleton.edges] == [8, 9, 8, 9, 9]
    assert both.at((0, 0, 1, 0, 1)) == skeleton.spec([5] * 5)
    assert [in_words(operator) for operator in skeleton.edges[1].operators[4:]] == [
        "kernel 5, expansion 1",
        "kernel 5, expansion 1, squeezed to 8",
        "kernel 5, expansion 2",
        "kernel 5, expansion 2, squeezed to 8",
        "none",
    ]


def test_an_even_kernel_is_refused() -> None:
    with pytest.raises(UsageError, match="4 is no kernel; kernels are odd"):
        made(kernels=[4])
