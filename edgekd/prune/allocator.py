"""What an allocator is: it decides how wide each group stays under a latency limit."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar

import torch
from torch import Tensor

from edgekd.plugins import PluginFolder
from edgekd.schema import Schema, from_mapping

Widths = Mapping[str, int]
"""Channels by group name."""


@dataclass(frozen=True)
class Problem:
    """What to allocate: importance by channel against latency by width."""

    scores: Mapping[str, Tensor]
    """By group, the importance of each channel, (channels,), comparable between groups."""
    floors: Widths
    """The narrowest width of each group; a group that has none may go down to one step."""
    step: int
    """Channels of a layer are multiples of this, unless a group keeps the width it has."""
    latency_ms: Callable[[Widths], float]
    """Predicted latency of the network at these widths; never falls when a group grows."""
    limit_ms: float
    units: Mapping[str, int] = field(default_factory=dict)
    """How many channels of a layer one channel of a group is, where it is more than one: a head is its width."""

    @cached_property
    def ladders(self) -> dict[str, tuple[int, ...]]:
        """Return the widths each group may have, the present one first, then falling."""
        return {name: self._ladder(name, len(score)) for name, score in self.scores.items()}

    @cached_property
    def whole(self) -> dict[str, int]:
        """Return the present widths."""
        return {name: len(score) for name, score in self.scores.items()}

    def lost(self, name: str, width: int) -> float:
        """Return the importance lost when a group keeps its `width` best channels: -log(share kept) x its importance.

        Layers in a row pass on the product of what each of them keeps, so the logarithm adds up over groups; and the
        last channels of a group get ever dearer, where a plain sum would strip one group after the other to its floor.
        """
        cumulated = self._cumulated[name]
        total = float(cumulated[-1])
        share = float(cumulated[width]) / total if total > 0 else 1.0
        return -total * math.log(max(share, 1e-9))

    @cached_property
    def _cumulated(self) -> dict[str, Tensor]:
        nothing = torch.zeros(1, dtype=torch.float64)
        best_first = {name: score.double().sort(descending=True).values for name, score in self.scores.items()}
        return {name: torch.cat([nothing, score.cumsum(0)]) for name, score in best_first.items()}

    def _ladder(self, name: str, channels: int) -> tuple[int, ...]:
        step = step_of(self.step, self.units.get(name, 1))
        lowest = max(self.floors.get(name, 1), step)
        below = range((channels - 1) // step * step, lowest - 1, -step)
        return (channels, *below)


class Allocator(ABC):
    """Chooses widths from the ladders until the predicted latency is within the limit, or nothing is left to take.

    Deterministic; a network that is within the limit stays as it is.
    """

    Config: ClassVar[type[Schema]]

    def __init__(self, config: Schema) -> None:
        self.config = config

    @abstractmethod
    def widths(self, problem: Problem) -> dict[str, int]:
        """Return the width of every group; where even the narrowest network is too slow, that network."""


ALLOCATORS = PluginFolder("edgekd.prune.allocators", Allocator)  # type: ignore[type-abstract]


def create(name: str, options: dict[str, Any]) -> Allocator:
    """Return an allocator by name; raises UsageError for an unknown name or option."""
    kind = ALLOCATORS.get(name)
    return kind(from_mapping(kind.Config, options, f"options of allocator '{name}'"))


def step_of(step: int, unit: int) -> int:
    """Return the step of a group's channels, each of which is `unit` channels of a layer that go in steps."""
    return step // math.gcd(step, unit)


def floors(widths: Widths, max_ratio: float, step: int, units: Mapping[str, int] | None = None) -> dict[str, int]:
    """Return the narrowest allowed width of each group: at most `max_ratio` of its channels go, never the last ones."""
    found = {}
    for name, channels in widths.items():
        least = max(1, channels - int(max_ratio * channels + 1e-9))
        own = step_of(step, (units or {}).get(name, 1))
        found[name] = min(channels, max(own, -(-least // own) * own))
    return found


def kept(score: Tensor, width: int) -> tuple[int, ...]:
    """Return the `width` most important channels of a group, in their own order; of equals the first stay."""
    best = torch.argsort(score, descending=True, stable=True)[:width]
    return tuple(sorted(best.tolist()))
