"""One channel of every group is cut once: what breaks is left alone, and what every width costs is known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from edgekd.errors import EdgekdError
from edgekd.models.example import example
from edgekd.models.kernels import kernels
from edgekd.prune import surgery
from edgekd.prune.depth import Block, blocks
from edgekd.prune.finding import Finder
from edgekd.prune.groups import Group
from edgekd.prune.trace import trace
from edgekd.prune.widths import KernelsByWidth, by_width
from edgekd.shortage import memory_is_out


@dataclass(frozen=True)
class Prunable:
    """What can be cut in a network: its groups and blocks, why other channels are fixed, kernels at every width."""

    groups: tuple[Group, ...]
    fixed: Mapping[str, str]
    kernels: KernelsByWidth
    input_shape: tuple[int, ...]
    blocks: tuple[Block, ...] = ()

    @property
    def widths(self) -> dict[str, int]:
        """Return the present width of every group."""
        return {group.name: group.channels for group in self.groups}


def prunable(model: nn.Module, input_shape: tuple[int, ...]) -> Prunable:
    """Return what can be cut in a model for inputs (N, *input_shape).

    A group whose trial cut fails (a width written into the model's own code, an attention nobody knows) keeps its
    width, with the reason in `fixed`; it never becomes an error.
    """
    device = next(model.parameters()).device
    traced = trace(model, example(input_shape, 1, device))
    finder = Finder(model, traced.labels)
    trial = _Trial(model, by_width(traced, finder), input_shape, device)
    usable = trial.accepted((), finder.found.groups)
    order = [group.name for group in finder.found.groups]
    fixed = {**finder.found.fixed, **{name: trial.reasons[name] for name in order if name in trial.reasons}}
    return Prunable(usable, fixed, trial.kernels, input_shape, blocks(model, traced))


class _Trial:
    """Cuts many groups at once, so that a network of groups that all work costs one cut, whatever its depth."""

    def __init__(
        self, model: nn.Module, by_width: KernelsByWidth, input_shape: tuple[int, ...], device: torch.device
    ) -> None:
        self.kernels = by_width
        self.reasons: dict[str, str] = {}
        self._model, self._input_shape = model, input_shape
        self._example = example(input_shape, 2, device)

    def accepted(self, sure: tuple[Group, ...], asked: Sequence[Group]) -> tuple[Group, ...]:
        """Return `sure` and those of the groups asked for that can be cut together with them."""
        if not asked:
            return sure
        together = (*sure, *asked)
        reason = self._why_not(together)
        if reason is None:
            return together
        if len(asked) == 1:
            self.reasons[asked[0].name] = reason
            return sure
        middle = len(asked) // 2
        return self.accepted(self.accepted(sure, asked[:middle]), asked[middle:])

    def _why_not(self, groups: Sequence[Group]) -> str | None:
        # From the middle, so that a shifted index shows.
        kept = {g.name: [c for c in range(g.channels) if c != g.channels // 2] for g in groups}
        try:
            cut = surgery.apply(self._model, groups, kept, self._example)
            after = kernels(cut, self._input_shape)
        except EdgekdError as error:
            return str(error)
        except Exception as error:  # whatever the model's own code raises
            if memory_is_out(error):
                raise
            return f"the model cannot run with another width here: {' '.join(str(error).split())[:200]}"
        if after != self.kernels.at({name: len(channels) for name, channels in kept.items()}):
            return "the network runs other operators when a channel is missing"
        return None
