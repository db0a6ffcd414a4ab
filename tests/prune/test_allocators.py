"""The contract of an allocator, held against every one that is found."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekd.errors import UsageError
from edgekd.predict.features import features
from edgekd.prune.allocator import ALLOCATORS, Problem, create, floors, kept
from edgekd.prune.trial import prunable
from edgekd.prune.widths import KernelsByWidth
from tests.models import INPUT_SHAPE
from tests.prune.networks import network

NETWORKS = ("residual", "depthwise", "mlp", "concatenation", "resnet", "mobilenetv2")
KERNELS: dict[str, KernelsByWidth] = {name: prunable(network(name), INPUT_SHAPE).kernels for name in NETWORKS}
COST = torch.tensor([2e-2, 4e-3, 2e-6, 5e-6, 1e-5], dtype=torch.float64).numpy()
every_allocator = pytest.mark.parametrize("allocator", ALLOCATORS.names())
every_network = pytest.mark.parametrize("name", NETWORKS)


def latency_of(name: str, step: int) -> Callable[[Mapping[str, int]], float]:
    return lambda widths: float(features(KERNELS[name].at(widths), step) @ COST)


def problem(name: str, share: float, step: int = 4, max_ratio: float = 0.75, seed: int = 0) -> Problem:
    """Return a problem whose limit lies at `share` between the narrowest and the whole network's latency."""
    random = torch.Generator().manual_seed(seed)
    widths = KERNELS[name].channels
    scores = {group: torch.rand(width, generator=random) for group, width in widths.items()}
    lowest, latency = floors(widths, max_ratio, step), latency_of(name, step)
    limit = latency(lowest) + share * (latency(widths) - latency(lowest))
    return Problem(scores, lowest, step, latency, limit)


def solve(allocator: str, given: Problem) -> dict[str, int]:
    return create(allocator, {}).widths(given)


@every_allocator
@every_network
@given(share=st.floats(0, 1), step=st.sampled_from([1, 4, 8]), seed=st.integers(0, 3))
@settings(max_examples=10, deadline=None)
def test_within_the_limit_in_aligned_widths(allocator: str, name: str, share: float, step: int, seed: int) -> None:
    asked = problem(name, share, step, seed=seed)
    widths = solve(allocator, asked)
    assert set(widths) == set(asked.whole)
    assert asked.latency_ms(widths) <= asked.limit_ms * (1 + 1e-9)
    for group, width in widths.items():
        assert width == asked.whole[group] or width % step == 0
        assert 0 < asked.floors[group] <= width <= asked.whole[group]


@every_allocator
@every_network
def test_a_limit_that_is_met_changes_nothing(allocator: str, name: str) -> None:
    asked = problem(name, 1.0)
    assert solve(allocator, asked) == asked.whole


@pytest.mark.parametrize("allocator", [name for name in ALLOCATORS.names() if name != "latency"])  # fills what is left
@every_network
def test_a_tighter_limit_never_widens_a_group(allocator: str, name: str) -> None:
    previous = None
    for share in (1.0, 0.8, 0.6, 0.4, 0.2, 0.0):
        widths = solve(allocator, problem(name, share))
        assert previous is None or all(widths[group] <= previous[group] for group in widths)
        previous = widths
    assert previous != solve(allocator, problem(name, 1.0))


@every_allocator
@every_network
def test_a_tighter_limit_leaves_fewer_channels(allocator: str, name: str) -> None:
    left = [sum(solve(allocator, problem(name, share)).values()) for share in (1.0, 0.6, 0.2)]
    assert left[0] >= left[1] >= left[2]
    assert left[0] > left[2]


@every_allocator
def test_out_of_reach_ends_at_a_network_that_cannot_get_faster(allocator: str) -> None:
    asked = problem("resnet", -1.0)
    assert asked.latency_ms(solve(allocator, asked)) == pytest.approx(asked.latency_ms(asked.floors))


@every_allocator
def test_is_deterministic(allocator: str) -> None:
    assert solve(allocator, problem("resnet", 0.4)) == solve(allocator, problem("resnet", 0.4))


@given(channels=st.integers(1, 300), ratio=st.floats(0.01, 0.99), step=st.sampled_from([1, 8, 16]))
def test_floors_are_aligned_and_leave_the_share_that_must_stay(channels: int, ratio: float, step: int) -> None:
    floor = floors({"g": channels}, ratio, step)["g"]
    assert 0 < floor <= channels
    assert floor >= (1 - ratio) * channels - 1e-6
    assert floor % step == 0 or floor == channels


def test_the_best_channels_stay_in_their_order() -> None:
    assert kept(torch.tensor([0.3, 0.1, 0.9, 0.2, 0.3]), 3) == (0, 2, 4)
    assert kept(torch.zeros(4), 2) == (0, 1)


def test_what_is_lost_grows_and_the_last_channels_are_the_dearest() -> None:
    asked = Problem({"g": torch.tensor([1.0, 1, 1, 1]), "zero": torch.zeros(4)}, {}, 1, lambda _: 1.0, 0.5)
    lost = [asked.lost("g", width) for width in (4, 3, 2, 1)]
    steps = [after - before for before, after in pairwise(lost)]
    assert lost[0] == 0
    assert steps == sorted(steps)
    assert steps[0] > 0
    assert asked.lost("zero", 1) == 0


def test_unknown_names_are_refused() -> None:
    with pytest.raises(UsageError, match="known: global-score, latency, uniform"):
        create("magic", {})
