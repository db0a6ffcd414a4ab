"""A channel's squared norm over that of all at least as large in its layer (LAMP; Lee et al. 2021); experimental."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn

from edgekd.prune.criterion import Criterion, weights
from edgekd.prune.groups import Member
from edgekd.schema import Schema


class Lamp(Criterion):
    """What taking a channel out would distort its layer by, when all smaller ones are gone already.

    The paper scores single weights and compares the scores of all layers as they are. Ours is channels in place of
    weights, as torch-pruning's LAMPImportance has it, but layer by layer before the group's are summed, and shares of a
    layer like those of every criterion. The order within a layer is that of `magnitude`; the largest weigh more.
    """

    class Config(Schema):
        """No options."""

    experimental: ClassVar[bool] = True

    def of_member(self, member: Member, model: nn.Module) -> Tensor:
        """Return the scores, (channels,), the largest channel's is 1."""
        squares = weights(member, model).square().sum(1)
        as_large = squares >= squares[:, None]
        return squares / (as_large * squares).sum(1).clamp_min(1e-300)
