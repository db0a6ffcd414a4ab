"""Second-order change of the loss without a channel, by empirical Fisher (OBD; LeCun et al. 1990); experimental."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from edgekd.prune.groups import Group, Member
from edgekd.prune.observed import Observed, gradients, moved
from edgekd.schema import Schema
from edgekd.train.loop import Batch, Objective


class Hessian(Observed):
    """Sum over a channel's weights of h w^2, with h the mean squared gradient of single samples.

    The paper's are the saliency h w^2 / 2 and the diagonal h of the Hessian; it takes h from a second backward pass in
    which terms of second derivatives are dropped (Gauss-Newton). The squared gradient in its place (Theis et al. 2018;
    torch-pruning's GroupHessianImportance) equals that where the labels are distributed as the network says, is never
    negative, and needs no more than gradients. It costs one backward pass a sample, whatever `sample_batch` is.
    """

    class Config(Schema):
        """No options."""

    experimental: ClassVar[bool] = True

    def observe(
        self, model: nn.Module, groups: Sequence[Group], batches: Iterable[Batch], objective: Objective
    ) -> None:
        """Sum over single samples: within a batch their gradients would cancel before they are squared."""
        super().observe(model, groups, (sample for batch in batches for sample in _samples(batch)), objective)

    def of_batch(self, members: Sequence[Member], model: nn.Module, batch: Batch, objective: Objective) -> list[Tensor]:
        """Return the estimate of one sample's gradient."""
        with gradients(model, batch, objective):
            return [moved(member, model).square().sum(1) for member in members]


def _samples(batch: Batch) -> Iterable[Batch]:
    for inputs, labels in zip(torch.split(batch.inputs, 1), torch.split(batch.labels, 1), strict=True):
        yield Batch(inputs, labels)
