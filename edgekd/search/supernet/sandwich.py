"""What shared weights minimise: the dearest network learns from labels and teacher, all others learn from it."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import log_softmax

from edgekd.distill.objective import DistillObjective
from edgekd.search.supernet.weights import SharedWeights
from edgekd.train.batches import Batch
from edgekd.train.objective import Terms


class Sandwich(nn.Module):
    """The loss of the dearest network, of the cheapest and of some that are drawn, added up.

    The sandwich rule and in-place distillation are those of Yu and Huang 2019 ('Universally Slimmable Networks',
    arXiv 1903.05134) and of BigNAS (Yu et al. 2020, arXiv 2003.11142); that the dearest network has a teacher of its
    own is edgekd's choice.
    """

    def __init__(self, objective: DistillObjective, drawn: int) -> None:
        super().__init__()
        self.objective, self._drawn = objective, drawn

    def forward(self, model: nn.Module, batch: Batch) -> Terms:
        """Return the loss by the labels, and that by the teachers."""
        shared, heard = cast(SharedWeights, model), list[Tensor]()
        hook = shared.register_forward_hook(lambda _module, _inputs, answer: heard.append(answer))
        try:
            terms = self.objective(shared, batch)
        finally:
            hook.remove()
        soft, taught = heard[-1].detach().softmax(-1), terms.teacher
        for point in self._others(shared):
            answer = shared.through(point, batch.inputs)
            loss = -(soft * log_softmax(answer, -1)).sum(-1).mean()
            taught = loss if taught is None else taught + loss
        return Terms(terms.labels, taught)

    def _others(self, shared: SharedWeights) -> list[tuple[int, ...]]:
        """Return the cheapest network and the drawn ones, by torch's global random numbers."""
        between = shared.points[1:-1]
        drawn = torch.randint(len(between), (self._drawn,)).tolist() if between else []
        return [*shared.points[: len(shared.points) > 1], *(between[at] for at in drawn)]
