"""The contract of samplers, over every sampler found; and how they search cells that others have measured."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from edgekd.errors import EdgekdError, UsageError
from edgekd.search.sampler import SAMPLERS, Grid, Sampler, create
from edgekd.search.space import Axis, Point
from tools.study_samplers import Cells

GRID = Grid((Axis(4), Axis(3, ordered=False), Axis(3)))


def costs_of(point: Point) -> tuple[float, float]:
    return float(sum(point)), float(12 - 2 * point[0] + (point[1] - 1) ** 2 - point[2])


def searched(name: str, count: int, *, seed: int = 0, grid: Grid = GRID, costs: int = 2) -> list[Point]:
    sampler = create(name, {}, grid, costs=costs, seed=seed)
    return asked(sampler, count, lambda point: costs_of(point)[:costs])


def asked(sampler: Sampler, count: int, cost: Callable[[Point], tuple[float, ...]]) -> list[Point]:
    found = []
    for _ in range(count):
        point = sampler.ask()
        if point is None:
            break
        sampler.tell(point, cost(point))
        found.append(point)
    return found


@pytest.mark.parametrize("name", SAMPLERS.names())
@pytest.mark.parametrize("costs", [1, 2])
def test_every_network_is_asked_for_once(name: str, costs: int) -> None:
    found = searched(name, 100, costs=costs)
    assert len(found) == len(set(found)) == 36
    assert set(found) == set(GRID.points())


@pytest.mark.parametrize("name", SAMPLERS.names())
def test_only_allowed_networks_are_asked_for(name: str) -> None:
    grid = Grid(GRID.axes, lambda point: sum(point) == 4)
    found = searched(name, 100, grid=grid)
    assert set(found) == {point for point in GRID.points() if sum(point) == 4}


@pytest.mark.parametrize("name", SAMPLERS.names())
def test_a_seed_says_everything_and_another_says_something_else(name: str) -> None:
    assert searched(name, 30) == searched(name, 30)
    assert searched(name, 30) != searched(name, 30, seed=1)


@pytest.mark.parametrize("name", SAMPLERS.names())
def test_a_search_goes_on_from_its_log(name: str) -> None:
    whole = searched(name, 30)
    again = create(name, {}, GRID, costs=2, seed=0)
    for point in whole[:20]:
        assert again.ask() == point
        again.tell(point, costs_of(point))
    assert asked(again, 10, costs_of) == whole[20:]


@pytest.mark.parametrize("name", SAMPLERS.names())
def test_several_may_be_looked_at_at_once_and_told_in_any_order(name: str) -> None:
    sampler = create(name, {}, GRID, costs=2, seed=0)
    seen: set[Point] = set()
    while (batch := [point for _ in range(4) if (point := sampler.ask()) is not None]) != []:
        assert not seen & set(batch)
        assert len(set(batch)) == len(batch)
        seen |= set(batch)
        for point in reversed(batch):
            sampler.tell(point, costs_of(point))
    assert len(seen) == 36


@pytest.mark.parametrize("name", SAMPLERS.names())
def test_what_was_never_asked_for_is_learned_too(name: str) -> None:
    sampler = create(name, {}, GRID, costs=2, seed=0)
    for point in list(GRID.points())[:20]:
        sampler.tell(point, costs_of(point))
    assert len(asked(sampler, 100, costs_of)) == 16


@pytest.mark.parametrize("name", SAMPLERS.names())
@pytest.mark.parametrize("costs", [(1.0,), (1.0, float("nan"))])
def test_costs_that_are_none_are_refused(name: str, costs: tuple[float, ...]) -> None:
    sampler = create(name, {}, GRID, costs=2, seed=0)
    point = sampler.ask()
    assert point is not None
    with pytest.raises(EdgekdError, match="each must be a finite number"):
        sampler.tell(point, costs)


def test_an_unknown_sampler_is_told_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="unknown name 'evolutoin' in samplers; did you mean 'evolution'"):
        create("evolutoin", {}, GRID, costs=1, seed=0)


def test_more_costs_than_a_sampler_weighs_are_refused() -> None:
    with pytest.raises(UsageError, match="weighs one cost or two, not 3; take nsga2 or random"):
        create("sms-ego", {}, GRID, costs=3, seed=0)


@pytest.mark.parametrize("name", SAMPLERS.names())
@pytest.mark.parametrize("foreseen", [(0,), (1,), (0, 1)])
def test_what_is_foreseen_hides_no_network(name: str, foreseen: tuple[int, ...]) -> None:
    def ahead(point: Point) -> list[float | None]:
        return [cost if number in foreseen else None for number, cost in enumerate(costs_of(point))]

    found = searched(name, 100, grid=Grid(GRID.axes, foreseen=ahead))
    assert len(found) == len(set(found)) == 36


def test_a_latency_that_is_foreseen_need_not_be_learned() -> None:
    table = Cells("essential_ph_1")
    ahead, blind = (table.share(table.searched("sms-ego", seed=0, blind=blind)) for blind in (False, True))
    assert ahead > 0.98 > blind


def test_a_hundred_evaluations_find_nearly_the_whole_front() -> None:
    table = Cells("gold_6226")
    share = table.share(table.searched("sms-ego", seed=0, blind=True))
    assert share >= 0.98
    assert share > table.share(table.searched("random", seed=0))
