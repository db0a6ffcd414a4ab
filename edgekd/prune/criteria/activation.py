"""Mean absolute activation of a channel, where it is read (Molchanov et al. 2017); experimental."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from edgekd.distill.taps import Taps
from edgekd.prune.groups import Member
from edgekd.prune.observed import Observed
from edgekd.schema import Schema
from edgekd.train.loop import Batch, Objective


class Activation(Observed):
    """A channel that is hardly ever active passes on little.

    The paper's is the mean over images and positions behind the activation function, one of the criteria it compares
    its own with. Ours is the absolute value, for streams that no ReLU made positive, and that it is taken at the input
    of every layer that reads the channels, behind all that happens to them on the way.
    """

    class Config(Schema):
        """No options."""

    experimental: ClassVar[bool] = True

    def watches(self, member: Member) -> bool:
        """Return whether a layer reads the channels."""
        return member.side == "in"

    @torch.no_grad()
    def of_batch(self, members: Sequence[Member], model: nn.Module, batch: Batch, objective: Objective) -> list[Tensor]:
        """Return the sum of absolute values over samples and positions."""
        del objective
        _, read = Taps(model, [f"{member.path}:input" for member in members])(model, batch.inputs)
        return [_sizes(member, model, tensor) for member, tensor in zip(members, read, strict=True)]


def _sizes(member: Member, model: nn.Module, tensor: Tensor) -> Tensor:
    axis = 1 if isinstance(model.get_submodule(member.path), nn.modules.conv._ConvNd) else -1
    values = tensor.movedim(axis, 0).flatten(1).double().abs().sum(1)
    return values[member.positions.to(values.device)].sum(1)
