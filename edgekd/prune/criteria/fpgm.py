"""Distance of a filter from the others of its layer (FPGM; He et al. 2019); experimental."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from edgekd.prune.criterion import Criterion, weights
from edgekd.prune.groups import Member
from edgekd.schema import Schema


class Fpgm(Criterion):
    """A filter near the geometric median of its layer is one the others can stand in for; needs no data.

    The paper's is the sum of a filter's Euclidean distances to all others, equation 8. Ours is that every layer which
    makes the group's channels has a say, a depthwise one too, with its bias. Layers that read them have none, nor has
    BatchNorm.
    """

    class Config(Schema):
        """No options."""

    experimental: ClassVar[bool] = True

    def of_member(self, member: Member, model: nn.Module) -> Tensor | None:
        """Return the summed distances, (channels,); None for what has no filters."""
        if member.side == "in" or not isinstance(model.get_submodule(member.path), nn.Linear | nn.modules.conv._ConvNd):
            return None
        filters = weights(member, model)
        return torch.cdist(filters, filters).sum(1)
