from __future__ import annotations

import itertools

import pytest

from edgekd.measure.sequence import WORTHWHILE, next_look


def _looks(round_s: float, limit_s: float, most: int = 1000) -> list[int]:
    found: list[int] = []
    while (look := next_look(found[-1] if found else 0, round_s * sum(found[-1:]), limit_s, most)) is not None:
        found.append(look)
    return found


@pytest.mark.parametrize(
    ("round_s", "looks"),
    [
        (0.9, [11, 22, 44, 66]),  # there is time for half of the next step, which is taken
        (0.6, [11, 22, 44, 100]),  # what is left after 88 would not be worth another look, so it joins that one
        (1.3, [11, 22, 46]),
        (5.0, [11]),  # one more process decides nothing
        (7.0, [11]),  # the first look comes although it takes longer
    ],
)
def test_looks_double_until_the_time_is_over(round_s: float, looks: list[int]) -> None:
    assert _looks(round_s, 60) == looks


@pytest.mark.parametrize("round_s", [0.05, 0.3, 0.77, 1.0, 2.5])
@pytest.mark.parametrize("limit_s", [5.0, 60.0, 600.0])
def test_no_look_is_planned_beyond_the_time_or_for_nothing(round_s: float, limit_s: float) -> None:
    looks = _looks(round_s, limit_s)
    assert looks[0] == 11
    assert all(round_s * look <= limit_s for look in looks[1:])
    assert all(after >= WORTHWHILE * before for before, after in itertools.pairwise(looks))
    assert looks[-1] <= 1000


def test_the_number_of_processes_is_capped() -> None:
    assert _looks(0.001, 60, most=50) == [11, 22, 50]
    assert _looks(0.001, 60, most=5) == [5]
    assert next_look(50, 1.0, 60, most=50) is None


def test_without_a_clock_only_the_cap_ends_it() -> None:
    assert next_look(11, 0.0, 60) == 22
