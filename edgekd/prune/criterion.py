"""What a pruning criterion is, and how the scores of different layers become comparable."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from edgekd.errors import PluginError
from edgekd.plugins import PluginFolder
from edgekd.prune.groups import Group, Member
from edgekd.schema import Schema, from_mapping
from edgekd.train.loop import Batch, Objective

log = logging.getLogger("edgekd")


class Criterion(ABC):
    """Says how much a network would miss each channel.

    A plug-in provides `of_member`; one that needs data also `observe`, or is an `Observed`. A channel whose weights are
    all zero gets zero.
    """

    Config: ClassVar[type[Schema]]
    experimental: ClassVar[bool] = False
    """Whether it has not beaten magnitude in `tools/bench_criteria.py`; docs/pruning.md has the figures.

    Such a criterion says so in the first line of its file, which is what `edgekd list criteria` shows, and whenever it
    prunes.
    """

    def __init__(self, config: Schema) -> None:
        self.config = config

    def observe(
        self, model: nn.Module, groups: Sequence[Group], batches: Iterable[Batch], objective: Objective
    ) -> None:
        """See training batches before scoring; a criterion that judges by weights alone takes none."""
        del model, groups, batches, objective

    @abstractmethod
    def of_member(self, member: Member, model: nn.Module) -> Tensor | None:
        """Return the importance (channels,) of a group's channels to one of its layers: not negative, in any unit.

        None for a layer of a kind that the criterion does not judge: the group's other layers speak for it.
        """

    def score(self, group: Group, model: nn.Module) -> Tensor:
        """Return the importance (channels,) of a group's channels: the sum over layers of each channel's share.

        Raw scores of different layers cannot be compared, as their scale follows width, depth and weight decay. So
        every layer hands out one unit of importance among its channels, and a group weighs as many units as it couples
        layers: a block of a residual stream costs more than the same share of an inner width. Against shares of the
        group's total this kept 10 to 15 points more accuracy before any training (two ResNets, 1.5 to 3x, one seed).
        A group none of whose layers is judged goes by the norms of its weights, and the log says so.
        """
        norms = [norm(member, model) for member in group.members]
        alive = (torch.stack(norms).sum(0) > 0).cpu()
        found = [(member, self.of_member(member, model)) for member in group.members]
        judged = [(member, part) for member, part in found if part is not None]
        if not judged:
            log.warning("%s judges no layer of group '%s'; it goes by its weights", type(self).__name__, group.name)
            judged = list(zip(group.members, norms, strict=True))
        total = torch.zeros(group.channels, dtype=torch.float64)
        for member, raw in judged:
            part = raw.detach().double().cpu()
            if part.shape != total.shape or not bool(torch.isfinite(part).all()) or bool((part < 0).any()):
                raise PluginError(
                    f"plug-in author: {type(self).__name__} must give {group.channels} finite scores of at least 0 for "
                    f"'{member.path}', it gave {tuple(part.shape)} from {part.min():g} to {part.max():g}"
                )
            part = part * alive  # not in place: it may be the criterion's own
            total += part / max(float(part.sum()), 1e-30)
        return total * len(group.members) / len(judged)


def of_channels(member: Member, model: nn.Module, value: Callable[[nn.Parameter], Tensor]) -> Tensor:
    """Return `value` of all that a layer holds of each channel, (channels, elements); some layers hold nothing."""
    parts = [part.double() for part in member.slices(model, value)]
    return torch.cat(parts, 1) if parts else torch.zeros(len(member.positions), 0, dtype=torch.float64)


def weights(member: Member, model: nn.Module) -> Tensor:
    """Return the weights of each channel in a layer, biases among them, (channels, elements)."""
    return of_channels(member, model, lambda parameter: parameter.detach())


def norm(member: Member, model: nn.Module) -> Tensor:
    """Return the L2 norm of each channel's weights in a layer, (channels,)."""
    found: Tensor = weights(member, model).norm(dim=1)
    return found


CRITERIA = PluginFolder("edgekd.prune.criteria", Criterion)  # type: ignore[type-abstract]


def create(name: str, options: dict[str, Any]) -> Criterion:
    """Return a criterion by name; raises UsageError for an unknown name or option."""
    kind = CRITERIA.get(name)
    return kind(from_mapping(kind.Config, options, f"options of criterion '{name}'"))
