"""One cut: score every channel, choose widths under a limit, take the rest out; the choice is kept on disk."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from edgekd.errors import EdgekdError
from edgekd.models.example import example
from edgekd.models.kernels import kernels
from edgekd.prune import allocator as allocation
from edgekd.prune import surgery
from edgekd.prune.allocator import Allocator, Problem
from edgekd.prune.cost import Cost
from edgekd.prune.criterion import Criterion
from edgekd.prune.landing import Landing, land
from edgekd.prune.samples import Samples, renew_statistics
from edgekd.prune.trial import Prunable
from edgekd.schema import Field, Schema, read_json, write_json
from edgekd.train.loop import Batch, Terms


class Cut(Schema):
    """What stays of each group."""

    schema_version: Literal[1] = 1
    kept: dict[str, tuple[int, ...]] = Field(description="channel indices by group, of the network before this cut")

    @property
    def widths(self) -> dict[str, int]:
        """Return the width of every group after the cut."""
        return {name: len(channels) for name, channels in self.kept.items()}


@dataclass(frozen=True)
class Cutter:
    """How widths are chosen and cut, the same in every step."""

    criterion: Criterion
    allocator: Allocator
    samples: Samples
    cost: Cost
    step: int

    def __call__(
        self,
        model: nn.Module,
        found: Prunable,
        floors: dict[str, int],
        limit: float,
        *,
        record: Path,
        landing: Landing | None = None,
    ) -> tuple[nn.Module, Cut]:
        """Return the network after the cut, its BatchNorm statistics renewed, and what was cut.

        With `landing` the limit is one of measured latency. A cut that `record` already holds is repeated, so that a
        resumed run cuts the very same channels. Raises EdgekdError when the network does not have the kernels the
        choice rested on.
        """
        if record.is_file():
            cut = read_json(Cut, record)
        else:
            chooser = self.chooser(model, found, floors)
            cut = chooser(limit) if landing is None else self._landed(model, found, chooser, limit, landing)
            write_json(cut, record)
        pruned = perform(model, found, cut)
        renew_statistics(pruned, self.samples)
        return pruned, cut

    def chooser(self, model: nn.Module, found: Prunable, floors: dict[str, int]) -> Callable[[float], Cut]:
        """Return what gives for a limit the channels that stay: within it, as far as the floors allow."""
        scores = self.scores(model, found)
        units = {group.name: group.unit for group in found.groups}

        def choose(limit: float) -> Cut:
            problem = Problem(
                scores, floors, self.step, lambda widths: self.cost.of(found.kernels.at(widths)), limit, units
            )
            widths = self.allocator.widths(problem)
            return Cut(kept={name: allocation.kept(score, widths[name]) for name, score in scores.items()})

        return choose

    def scores(self, model: nn.Module, found: Prunable) -> dict[str, Tensor]:
        """Return the importance of each channel, (channels,), by group."""
        self.criterion.observe(model, found.groups, self.samples, _cross_entropy)
        return {group.name: self.criterion.score(group, model) for group in found.groups}

    def _landed(
        self, model: nn.Module, found: Prunable, chooser: Callable[[float], Cut], limit: float, landing: Landing
    ) -> Cut:
        def choose(share: float) -> tuple[Cut, float]:
            cut = chooser(share * landing.whole)
            return cut, self.cost.of(found.kernels.at(cut.widths)) / landing.whole

        built = land(
            limit / landing.whole,
            choose,
            lambda cut: landing.measured(perform(model, found, cut)),
            engines=landing.engines,
        )
        landing.note(built)
        return built[0].network


def perform(model: nn.Module, found: Prunable, cut: Cut) -> nn.Module:
    """Return the network after a cut; raises EdgekdError when its kernels are not those that were promised."""
    seen = example(found.input_shape, 2, next(model.parameters()).device)
    pruned = surgery.apply(model, found.groups, cut.kept, seen)
    for promised, real in zip(found.kernels.at(cut.widths), kernels(pruned, found.input_shape), strict=True):
        if promised != real:
            raise EdgekdError(f"pruning was planned for {promised}, but the network now has {real}")
    return pruned


def _cross_entropy(model: nn.Module, batch: Batch) -> Terms:
    return Terms(F.cross_entropy(model(batch.inputs), batch.labels))
