from __future__ import annotations

import pytest
import torch

from edgekd.prune.allocator import Problem, create
from tests.prune.test_allocators import problem


def lost(asked: Problem, allocator: str) -> float:
    widths = create(allocator, {}).widths(asked)
    return sum(asked.lost(name, width) for name, width in widths.items())


@pytest.mark.parametrize("name", ["residual", "resnet", "mobilenetv2"])
def test_loses_less_importance_than_the_uniform_control(name: str) -> None:
    """At the same limit; summed over limits and scores, as one greedy choice may be unlucky."""
    asked = [problem(name, share, step=2, seed=seed) for share in (0.3, 0.5, 0.7) for seed in range(4)]
    assert sum(lost(a, "latency") for a in asked) < sum(lost(a, "uniform") for a in asked)


def test_takes_what_saves_most_where_importance_is_equal() -> None:
    asked = problem("residual", 0.9)
    equal = Problem({n: s * 0 + 1 for n, s in asked.scores.items()}, asked.floors, 4, _second_is_dear, 9.9)
    assert create("latency", {}).widths(equal) == {"stem": 16, "second": 28}


def _second_is_dear(widths: dict[str, int]) -> float:
    return 0.01 * widths["stem"] + 0.3 * widths["second"] + 0.24


def test_steps_over_a_width_that_saves_nothing() -> None:
    """On a staircase of 8 with widths in steps of 4, the next width down may cost as much as the present one."""
    asked = problem("residual", 0.5)

    def staircase(widths: dict[str, int]) -> float:
        return sum(-(-width // 8) * 8 for width in widths.values())

    stairs = Problem(asked.scores, asked.floors, 4, staircase, 40)
    widths = create("latency", {}).widths(stairs)
    assert staircase(widths) == 40
    assert all(width % 8 == 0 for width in widths.values())


@pytest.mark.parametrize("name", ["residual", "resnet", "mobilenetv2"])
@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
def test_leaves_no_room_that_a_block_would_fit_into(name: str, share: float) -> None:
    asked = problem(name, share)
    widths = create("latency", {}).widths(asked)
    for group, width in widths.items():
        wider = min((rung for rung in asked.ladders[group] if rung > width), default=None)
        assert wider is None or asked.latency_ms({**widths, group: wider}) > asked.limit_ms


def test_of_blocks_that_fit_the_one_worth_most_for_its_cost_comes_back() -> None:
    """The first group is dear and goes first, by more than it has to; the room is enough for the other one only."""
    scores = {"dear": torch.full((2,), 0.5), "cheap": torch.tensor([1.0, 0.4]), "dull": torch.tensor([1.0, 0.01])}

    def cost(widths: dict[str, int]) -> float:
        return 10 * widths["dear"] + widths["cheap"] + widths["dull"]

    asked = Problem(scores, {"dear": 1, "cheap": 1, "dull": 1}, 1, cost, 13.0)
    assert create("latency", {}).widths(asked) == {"dear": 1, "cheap": 2, "dull": 1}
