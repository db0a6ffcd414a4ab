"""Criteria that watch the network at work: what they see of each layer is summed over training batches."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from edgekd.errors import EdgekdError
from edgekd.models.mode import evaluating
from edgekd.prune.criterion import Criterion, of_channels
from edgekd.prune.groups import Group, Member
from edgekd.schema import Schema
from edgekd.train.loop import Batch, Objective


class Observed(Criterion):
    """A plug-in provides `of_batch`, and `watches` where it does not judge every layer."""

    def __init__(self, config: Schema) -> None:
        super().__init__(config)
        self._sums: dict[tuple[str, str, int], Tensor] = {}

    @abstractmethod
    def of_batch(
        self, members: Sequence[Member], model: nn.Module, batch: Batch, objective: Objective
    ) -> Iterable[Tensor]:
        """Return the importance (channels,) of each member's channels on one batch; the network is in eval mode."""

    def watches(self, member: Member) -> bool:
        """Return whether a layer is judged."""
        del member
        return True

    def observe(
        self, model: nn.Module, groups: Sequence[Group], batches: Iterable[Batch], objective: Objective
    ) -> None:
        """Sum over the batches; the model's weights, mode and statistics stay as they are."""
        # In training mode BatchNorm makes the loss blind to the scale of the weights before it, so their products
        # with the gradient cancel to nothing.
        self._sums = {}
        members = [member for group in groups for member in group.members if self.watches(member)]
        with evaluating(model):
            for batch in batches:
                for member, found in zip(members, self.of_batch(members, model, batch, objective), strict=True):
                    self._sums[member.key] = self._sums.get(member.key, 0) + found

    def of_member(self, member: Member, model: nn.Module) -> Tensor | None:
        """Return the sum, (channels,); raises EdgekdError before there was a batch."""
        del model
        if not self.watches(member):
            return None
        found = self._sums.get(member.key)
        if found is None:
            raise EdgekdError(f"{type(self).__name__} has seen no training batch for layer '{member.path}'")
        return found


@contextmanager
def gradients(model: nn.Module, batch: Batch, objective: Objective) -> Iterator[None]:
    """Leave the gradients of a batch's loss in the model for as long as somebody looks at them."""
    model.zero_grad(set_to_none=True)
    try:
        with torch.enable_grad():
            objective(model, batch).total.backward()  # type: ignore[no-untyped-call]
        yield
    finally:
        model.zero_grad(set_to_none=True)


def moved(member: Member, model: nn.Module) -> Tensor:
    """Return weight x gradient of all that a layer holds of each channel, (channels, elements)."""
    return of_channels(member, model, _product)


def _product(weight: nn.Parameter) -> Tensor:
    if weight.grad is None:
        return torch.zeros_like(weight, dtype=torch.float64)
    return weight.detach().double() * weight.grad.double()
