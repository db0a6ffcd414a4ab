from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekd.search.front import gains, hypervolume, nondominated

POINTS = st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12)), min_size=1, max_size=25)
REFERENCE = (10.0, 9.0)


def by_counting(costs: np.ndarray) -> int:
    """Count the unit squares below the reference that some point dominates."""
    return sum(
        any(first <= x and second <= y for first, second in costs)
        for x in range(int(REFERENCE[0]))
        for y in range(int(REFERENCE[1]))
    )


@given(POINTS)
def test_the_hypervolume_is_the_dominated_area(points: list[tuple[int, int]]) -> None:
    costs = np.array(points, np.float64)
    assert hypervolume(costs, REFERENCE) == by_counting(costs)


@given(POINTS, POINTS)
def test_a_gain_is_what_a_point_adds(known: list[tuple[int, int]], new: list[tuple[int, int]]) -> None:
    costs, candidates = np.array(known, np.float64), np.array(new, np.float64)
    before = hypervolume(costs, REFERENCE)
    added = [hypervolume(np.concatenate([costs, [one]]), REFERENCE) - before for one in candidates]
    assert gains(candidates, costs, REFERENCE) == pytest.approx(added)


@given(POINTS)
def test_the_front_is_what_nobody_beats(points: list[tuple[int, int]]) -> None:
    costs = np.array(points, np.float64)
    front = nondominated(costs)
    beaten = [any((other <= one).all() and (other < one).any() for other in costs) for one in costs]
    assert {tuple(costs[row]) for row in front} == {
        tuple(one) for one, lost in zip(costs, beaten, strict=True) if not lost
    }
    assert len({tuple(costs[row]) for row in front}) == len(front)
    assert (np.diff(costs[front, 0]) > 0).all()


def test_no_point_dominates_nothing() -> None:
    assert hypervolume(np.empty((0, 2)), REFERENCE) == 0
    assert gains(np.array([[4.0, 5.0]]), np.empty((0, 2)), REFERENCE) == pytest.approx([6 * 4])
