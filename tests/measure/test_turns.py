from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest

from edgekd.measure.statistics import samples_needed
from edgekd.measure.turns import BLOCK_RUNS, LEAST_RUNS, blocks_needed, turns


def test_two_engines_take_turns_in_abba_order() -> None:
    assert "".join("AB"[turn] for turn in turns(2, 4, first=0)) == "ABBAABBA"
    assert "".join("AB"[turn] for turn in turns(2, 2, first=1)) == "BAAB"


@pytest.mark.parametrize("count", [1, 2, 3, 8])
def test_a_linear_drift_cancels_for_every_engine(count: int) -> None:
    order = list(turns(count, 6, first=count - 1))
    assert Counter(order) == dict.fromkeys(range(count), 6)
    middles = {turn: sum(place for place, who in enumerate(order) if who == turn) for turn in range(count)}
    assert len(set(middles.values())) == 1


def test_nobody_is_always_behind_the_same_neighbour() -> None:
    behind = {(a, b) for first in range(4) for a, b in pairwise(turns(4, 2, first)) if a != b}
    assert {a for a, b in behind if b == 2} == {1, 3}


@pytest.mark.parametrize("percentile", [50, 90, 95, 99])
def test_blocks_hold_the_runs_a_percentile_needs(percentile: float) -> None:
    blocks = blocks_needed(percentile)
    assert blocks % 2 == 0
    needed = max(samples_needed(percentile), LEAST_RUNS)
    assert needed <= blocks * BLOCK_RUNS < needed + 2 * BLOCK_RUNS
