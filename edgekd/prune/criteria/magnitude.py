"""L2 norm of the weights of a channel in every layer of its group (Li et al. 2017, there L1); needs no data."""

from __future__ import annotations

from torch import Tensor, nn

from edgekd.prune.criterion import Criterion, norm
from edgekd.prune.groups import Member
from edgekd.schema import Schema


class Magnitude(Criterion):
    """A channel with small weights, in the layers that make and read it, does little."""

    class Config(Schema):
        """No options."""

    def of_member(self, member: Member, model: nn.Module) -> Tensor:
        """Return the L2 norm of each channel's weights, (channels,)."""
        return norm(member, model)
