from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch
from torch import Tensor

from edgekd.errors import UsageError
from edgekd.prune.allocator import Problem, create


def channels(widths: Mapping[str, int]) -> float:
    """A network that costs what it has of channels."""
    return float(sum(widths.values()))


def asked(scores: dict[str, Tensor], limit: float, *, step: int = 1, floors: dict[str, int] | None = None) -> Problem:
    return Problem(scores, floors or {}, step, channels, limit)


def test_the_least_important_channels_of_the_whole_network_go() -> None:
    scores = {"a": torch.tensor([1.0, 9, 10, 20]), "b": torch.tensor([8.0, 11, 9, 12])}
    assert create("global-score", {}).widths(asked(scores, 7)) == {"a": 3, "b": 4}
    # a and b have the same mean: in order go 1 of a, 8 of b, 9 of both.
    assert create("global-score", {}).widths(asked(scores, 6)) == {"a": 3, "b": 3}
    assert create("global-score", {}).widths(asked(scores, 4)) == {"a": 2, "b": 2}


def test_a_group_is_judged_by_its_own_mean_unless_told_otherwise() -> None:
    scores = {"large": torch.tensor([10.0, 100, 190]), "small": torch.tensor([1.0, 1, 1])}
    assert create("global-score", {}).widths(asked(scores, 5)) == {"large": 2, "small": 3}
    assert create("global-score", {"normalise": "none"}).widths(asked(scores, 5)) == {"large": 3, "small": 2}


def test_what_a_channel_costs_does_not_matter() -> None:
    """The block with the lowest score goes though it saves next to nothing, where `latency` takes the dear one."""
    scores = {"cheap": torch.tensor([1.0, 2, 3, 4]), "dear": torch.tensor([1.1, 2, 3, 4])}
    cost = {"cheap": 0.01, "dear": 1.0}
    problem = Problem(scores, {}, 1, lambda widths: sum(cost[name] * width for name, width in widths.items()), 3.5)
    assert create("latency", {}).widths(problem) == {"cheap": 4, "dear": 3}
    assert create("global-score", {}).widths(problem) == {"cheap": 3, "dear": 3}


def test_a_block_goes_with_the_best_of_its_channels() -> None:
    scores = {"a": torch.tensor([0.1, 1.9, 2, 2]), "b": torch.tensor([0.9, 0.9, 2, 2.2])}
    assert create("global-score", {}).widths(asked(scores, 6, step=2)) == {"a": 4, "b": 2}


def test_floors_hold_and_the_rest_gives_way() -> None:
    scores = {"weak": torch.tensor([0.0, 0, 0, 4]), "even": torch.tensor([1.0, 1, 1, 1])}
    found = create("global-score", {}).widths(asked(scores, 5, floors={"weak": 3}))
    assert found == {"weak": 3, "even": 2}


def test_scores_of_nothing_are_the_first_to_go() -> None:
    scores = {"dead": torch.zeros(4), "alive": torch.ones(4)}
    assert create("global-score", {}).widths(asked(scores, 5)) == {"dead": 1, "alive": 4}


def test_an_unknown_way_to_normalise_is_refused() -> None:
    with pytest.raises(UsageError, match="normalise"):
        create("global-score", {"normalise": "sum"})
