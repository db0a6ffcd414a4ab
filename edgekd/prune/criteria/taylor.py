"""First-order change of the loss without a channel: |weight x gradient| on training batches (Molchanov et al. 2019)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from edgekd.errors import EdgekdError
from edgekd.models.mode import evaluating
from edgekd.prune.criterion import Criterion
from edgekd.prune.groups import Group, Member
from edgekd.schema import Field, Schema
from edgekd.train.loop import Batch, Objective


class Taylor(Criterion):
    """Summed over batches as absolute values; small batches let less of it cancel out."""

    class Config(Schema):
        """How the products of one layer are put together."""

        join: Literal["gate", "weights"] = Field(
            default="gate",
            description="gate: |sum of w g| over a channel's weights in a layer, as if one factor scaled them all "
            "(equation 9 of the paper); weights: sum of |w g|",
        )

    config: Config

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self._sums: dict[tuple[str, str, int], Tensor] = {}

    def observe(
        self, model: nn.Module, groups: Sequence[Group], batches: Iterable[Batch], objective: Objective
    ) -> None:
        """Accumulate scores over the batches; the model's weights, mode and statistics stay as they are."""
        # In training mode BatchNorm makes the loss blind to the scale of the weights before it, so their products
        # with the gradient cancel to nothing.
        self._sums = {}
        with evaluating(model):
            try:
                for batch in batches:
                    model.zero_grad(set_to_none=True)
                    with torch.enable_grad():
                        objective(model, batch).total.backward()  # type: ignore[no-untyped-call]
                    for group in groups:
                        for member in group.members:
                            self._add(member, model)
            finally:
                model.zero_grad(set_to_none=True)

    def of_member(self, member: Member, model: nn.Module) -> Tensor:
        """Return the accumulated estimate, (channels,)."""
        del model
        found = self._sums.get(member.key)
        if found is None:
            raise EdgekdError(f"the Taylor criterion has seen no training batch for layer '{member.path}'")
        return found

    def _add(self, member: Member, model: nn.Module) -> None:
        products = torch.cat(list(member.slices(model, _product)), dim=1)
        joined = products.sum(1).abs() if self.config.join == "gate" else products.abs().sum(1)
        before = self._sums.get(member.key)
        self._sums[member.key] = joined if before is None else before + joined


def _product(weight: nn.Parameter) -> Tensor:
    if weight.grad is None:
        return torch.zeros_like(weight, dtype=torch.float64)
    return weight.detach().double() * weight.grad.double()
