"""A warm start: any sampler begins from what did well in earlier tasks, and goes its own way where they mislead."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from edgekd.search.prior import LEAST, Prior
from edgekd.search.sampler import SAMPLERS, Grid, Sampler, create
from edgekd.search.space import Axis, Point
from edgekd.search.warm import WarmStart, warmed

GRID = Grid((Axis(6), Axis(5, ordered=False), Axis(6)))
BEST = (4, 2, 1)


def error(point: Point) -> float:
    """Be least at BEST."""
    return float(abs(point[0] - BEST[0]) + 3 * (point[1] != BEST[1]) + abs(point[2] - BEST[2]))


def rows(cost: Callable[[Point], float] = error, count: int = 40, seed: int = 7) -> dict[Point, tuple[float, ...]]:
    found = list(GRID.points())
    taken = np.random.default_rng(seed).permutation(len(found))[:count]
    return {found[int(k)]: (cost(found[int(k)]),) for k in taken}


def warm(
    name: str, *tasks: dict[Point, tuple[float, ...]], grid: Grid = GRID, costs: int = 1, seed: int = 0
) -> Sampler:
    return warmed(create(name, {}, grid, costs=costs, seed=seed), Prior(grid, tasks), seed)


def asked(sampler: Sampler, count: int, cost: Callable[[Point], float] = error) -> list[Point]:
    found = list[Point]()
    while len(found) < count and (point := sampler.ask()) is not None:
        sampler.tell(point, (cost(point),) * sampler.costs)
        found.append(point)
    return found


@pytest.mark.parametrize("name", SAMPLERS.names())
def test_a_bank_that_says_nothing_changes_nothing(name: str) -> None:
    few = dict(list(rows().items())[: LEAST - 1])
    assert asked(warm(name), 30) == asked(warm(name, {}, few), 30) == asked(create(name, {}, GRID, costs=1, seed=0), 30)
    assert not isinstance(warm(name, {}, few), WarmStart)


@pytest.mark.parametrize("name", SAMPLERS.names())
def test_the_first_networks_are_better_than_those_of_a_cold_start(name: str) -> None:
    cold, found = list[Point](), list[Point]()
    for seed in range(6):
        cold += asked(create(name, {}, GRID, costs=1, seed=seed), 8)
        found += asked(warm(name, rows(), rows(seed=8), seed=seed), 8)
    assert np.mean([error(p) for p in found]) < np.mean([error(p) for p in cold]) - 1


@pytest.mark.parametrize("name", SAMPLERS.names())
def test_a_warm_start_keeps_the_contract_of_samplers(name: str) -> None:
    grid = Grid(GRID.axes, lambda point: sum(point) % 2 == 0)
    sampler, seen = warm(name, rows(), grid=grid), set[Point]()
    while batch := [point for _ in range(4) if (point := sampler.ask()) is not None]:
        assert not seen & set(batch)
        assert len(set(batch)) == len(batch)
        seen |= set(batch)
        for point in reversed(batch):
            sampler.tell(point, (error(point),))
    assert seen == {point for point in GRID.points() if sum(point) % 2 == 0}


@pytest.mark.parametrize("name", SAMPLERS.names())
def test_a_warm_search_goes_on_from_its_log(name: str) -> None:
    whole = asked(warm(name, rows()), 30)
    assert whole == asked(warm(name, rows()), 30) != asked(warm(name, rows(), seed=1), 30)
    again = warm(name, rows())
    for point in whole[:20]:
        assert again.ask() == point
        again.tell(point, (error(point),))
    assert asked(again, 10) == whole[20:]


def test_the_prior_fades() -> None:
    drawn = Counter[str]()

    class Noticed(Prior):
        def draw(self, *given: object) -> Point | None:
            drawn["early" if len(drawn_from.told) < 10 else "late"] += 1
            return super().draw(*given)  # type: ignore[arg-type]

    drawn_from = WarmStart(create("random", {}, GRID, costs=1, seed=0), Noticed(GRID, [rows()]), 0)
    asked(drawn_from, 110)
    assert drawn["early"] >= 5
    assert drawn["late"] < 0.5 * 100


def test_a_task_weighs_as_it_orders_what_was_tried_here() -> None:
    prior = Prior(GRID, [rows(), rows(lambda p: -error(p))])
    told = rows(count=12, seed=3)
    assert prior.similarities({}).tolist() == [1, 1], "before anything was tried, all are alike"
    like, unlike = prior.similarities(told)
    assert like > 0.5
    assert unlike < 0
    random = np.random.default_rng(0)
    drawn = [prior.draw(np.array([like, unlike]), random, lambda _: True) for _ in range(50)]
    assert np.mean([error(p) for p in drawn if p is not None]) < np.mean([error(p) for p in GRID.points()]) - 1
    assert prior.draw(np.array([-0.5, 0.0]), random, lambda _: True) is None
    assert prior.draw(np.array([like, unlike]), random, lambda _: False) is None


def test_where_all_earlier_tasks_mislead_the_sampler_takes_over() -> None:
    sampler = warm("random", rows(lambda p: -error(p)), rows(lambda p: -error(p), seed=8))
    found = asked(sampler, 60)
    everywhere = np.mean([error(p) for p in GRID.points()])
    assert np.mean([error(p) for p in found[:3]]) > everywhere
    assert abs(np.mean([error(p) for p in found[20:]]) - everywhere) < 1


def front_of(prior: Prior) -> list[Point]:
    """Return 60 networks that a prior draws of two costs."""
    random, gone = np.random.default_rng(0), set[Point]()
    while len(gone) < 60 and (point := prior.draw(np.ones(1), random, lambda one: one not in gone)) is not None:
        gone.add(point)
    return list(gone)


@pytest.mark.parametrize("known", [True, False])
def test_of_two_costs_the_front_is_what_is_foretold(known: bool) -> None:
    grid = replace(GRID, foreseen=lambda point: (float(point[0]), None)) if known else GRID
    both = {point: (float(point[0]), 10.0 - point[0] + 4 * (point[1] != 3)) for point in rows(count=60)}
    prior = Prior(grid, [both])
    drawn = front_of(prior)
    assert len(Counter(point[0] for point in drawn)) == 6
    assert Counter(point[1] for point in drawn)[3] >= 30, "36 of 180 have it"
    told = {point: both[point] for point in list(both)[:20]}
    assert prior.similarities(told)[0] > 0.8
    worse = {point: (first, -second) for point, (first, second) in told.items()}
    similar = prior.similarities(worse)[0]
    assert similar < 0 if known else 0 <= similar < 0.5, "what everybody knows makes no two tasks alike"


def test_many_rows_of_a_task_are_thinned_from_the_best_to_the_worst() -> None:
    grid = Grid((Axis(30), Axis(30)))
    task = {(a, b): (float(abs(a - 20) + abs(b - 3)),) for a, b in grid.points()}
    found = asked(warm("random", task, grid=grid), 5, lambda point: task[point][0])
    assert min(task[point][0] for point in found) <= 2
