from __future__ import annotations

import math

import pytest

from edgekd.prune.landing import land

STEPS = 64
"""Widths there are to choose from, each with a predicted share."""


def choose(limit: float) -> tuple[int, float]:
    """Return the widest network within a limit."""
    width = max(1, min(STEPS, math.floor(limit * STEPS + 1e-9)))
    return width, width / STEPS


MACHINES = {
    "as predicted": lambda share: share,
    "an overhead nobody predicted": lambda share: 0.2 + 0.8 * share,
    "wide layers dearer than predicted": lambda share: share**1.5,
    "a step in the middle": lambda share: share * (1.0 if share > 0.5 else 0.9),
    "a third of it cannot be cut": lambda share: (1 + 2 * share) / 3,
}


@pytest.mark.parametrize("name", MACHINES)
@pytest.mark.parametrize("goal", [0.75, 0.6, 0.35])
def test_it_lands_within_a_twentieth_with_three_engines(name: str, goal: float) -> None:
    machine = MACHINES[name]
    built = land(goal, choose, lambda width: machine(width / STEPS))
    assert len(built) <= 3
    assert abs(built[0].measured / goal - 1) <= 0.05
    assert built[0].measured == machine(built[0].network / STEPS)


def test_what_is_close_enough_at_once_is_built_once() -> None:
    assert len(land(0.5, choose, lambda width: width / STEPS)) == 1


def test_the_nearest_comes_first_and_the_same_network_is_not_built_twice() -> None:
    asked = []

    def measured(width: int) -> float:
        asked.append(width)
        return 0.9  # whatever is cut, it takes as long

    built = land(0.5, choose, measured, engines=5)
    assert len(asked) == len(set(asked))
    assert [one.network for one in built] == sorted((one.network for one in built), key=asked.index)


def test_noise_of_a_few_percent_does_not_lead_astray() -> None:
    noise = iter([1.02, 0.98, 1.01])
    built = land(0.3, choose, lambda width: (0.1 + 0.9 * width / STEPS) * next(noise), tolerance=0.0)
    assert abs((0.1 + 0.9 * built[0].predicted) / 0.3 - 1) <= 0.06


def test_a_bend_is_seen_with_the_third_point() -> None:
    built = land(0.25, choose, lambda width: (width / STEPS) ** 0.62)
    assert abs(built[0].measured / 0.25 - 1) <= 0.05


def test_where_the_choice_is_the_same_again_the_next_larger_one_is_built_if_it_should_be_nearer() -> None:
    coarse = [0.2, 0.4, 0.55, 0.79, 1.0]

    def choosing(limit: float) -> tuple[float, float]:
        share = max(one for one in coarse if one <= max(limit, 0.2))
        return share, share

    built = land(0.75, choosing, lambda share: 0.95 * share)  # 0.55 first, and again by the line
    assert built[0].network == 0.79
    built = land(0.6, choosing, lambda share: 0.95 * share)
    assert [one.network for one in built] == [0.55]  # the next one would be further off


def test_a_network_of_which_nothing_can_be_cut_is_built_once() -> None:
    built = land(0.5, lambda _limit: ("whole", 1.0), lambda _network: 1.0)
    assert [one.network for one in built] == ["whole"]
