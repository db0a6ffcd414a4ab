"""First-order change of the loss without a channel: |weight x gradient| on training batches (Molchanov et al. 2019)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from torch import Tensor, nn

from edgekd.prune.groups import Member
from edgekd.prune.observed import Observed, gradients, moved
from edgekd.schema import Field, Schema
from edgekd.train.loop import Batch, Objective


class Taylor(Observed):
    """Summed over batches as absolute values; small batches let less of it cancel out."""

    class Config(Schema):
        """How the products of one layer are put together."""

        join: Literal["gate", "weights"] = Field(
            default="gate",
            description="gate: |sum of w g| over a channel's weights in a layer, as if one factor scaled them all "
            "(equation 9 of the paper); weights: sum of |w g|",
        )

    config: Config

    def of_batch(self, members: Sequence[Member], model: nn.Module, batch: Batch, objective: Objective) -> list[Tensor]:
        """Return the estimate of one batch's gradient."""
        with gradients(model, batch, objective):
            products = [moved(member, model) for member in members]
        if self.config.join == "gate":
            return [product.sum(1).abs() for product in products]
        return [product.abs().sum(1) for product in products]
