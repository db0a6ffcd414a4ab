"""|gamma| of the BatchNorm a channel passes through (network slimming; Liu et al. 2017); experimental."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn

from edgekd.prune.criterion import Criterion
from edgekd.prune.groups import Member
from edgekd.schema import Schema


class BnScale(Criterion):
    """A channel that BatchNorm scales down is small wherever it is read.

    The paper trains with an L1 penalty on gamma first, so that many become zero; edgekd takes the network as it was
    trained. Each BatchNorm of a group has one unit to hand out, and the other layers follow them; a group without one
    goes by the norms of its weights.
    """

    class Config(Schema):
        """No options."""

    experimental: ClassVar[bool] = True

    def of_member(self, member: Member, model: nn.Module) -> Tensor | None:
        """Return |gamma|, (channels,); None for what is no BatchNorm, or one that does not scale."""
        layer = model.get_submodule(member.path)
        if not isinstance(layer, nn.modules.batchnorm._BatchNorm) or not layer.affine:
            return None
        gamma = next(member.slices(model, lambda parameter: parameter.detach().abs()))
        return gamma.sum(1)
