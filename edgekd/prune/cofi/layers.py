"""Layer distillation: what a layer of the teacher gives, learnt by the nearest layer of the student that is alive."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgekd.prune.cofi.plan import LAYERS, Plan, Values


class LayerDistillation(nn.Module):
    """sum_i MSE(W h_S^m(i), h_T^i) over the residual blocks of the teacher, W shared and the identity at first.

    m(i) is chosen anew for every batch: of the student's blocks that are alive under its masks, the one whose W h_S is
    nearest to h_T^i in mean square. The paper's are the dynamic map, W and the sum; ours are the division by the mean
    square of h_T^i, because a pre-norm stream has no scale of its own, the mean in place of the sum, and that all of
    the teacher's blocks teach.
    """

    def __init__(self, plan: Plan, width: int) -> None:
        super().__init__()
        self.projection = nn.Linear(width, width, bias=False)
        nn.init.eye_(self.projection.weight)
        self._plan = plan

    @property
    def paths(self) -> tuple[str, ...]:
        """Return the modules whose outputs are compared."""
        return tuple(block.name for block in self._plan.found.blocks)

    def alive(self, values: Values) -> list[int]:
        """Return the positions of the blocks in which some layer is open."""
        own = [self._plan.within(path) for path in self.paths]
        open_ = (values[LAYERS].detach() > 0).tolist()
        return [at for at, layers in enumerate(own) if not layers or any(open_[layer] for layer in layers)]

    def forward(self, student: Sequence[Tensor], teacher: Sequence[Tensor], values: Values) -> Tensor:
        """Return the loss for hidden states (B, T, D), those of all blocks of both; a scalar, 0 when none is alive."""
        distances = self.distances(student, teacher, values)
        if not distances.numel():
            return torch.zeros(())
        return distances.gather(1, distances.detach().argmin(1, keepdim=True)).mean()

    def distances(self, student: Sequence[Tensor], teacher: Sequence[Tensor], values: Values) -> Tensor:
        """Return (teacher's blocks, alive blocks of the student): relative mean square distances."""
        seen = [self.projection(self._open(student[at], values)) for at in self.alive(values)]
        rows = [[F.mse_loss(own, told) / told.square().mean().clamp_min(1e-6) for own in seen] for told in teacher]
        return torch.stack([torch.stack(row) for row in rows]) if seen else torch.zeros(len(teacher), 0)

    def map(self, student: Sequence[Tensor], teacher: Sequence[Tensor], values: Values) -> list[int]:
        """Return m: for each of the teacher's blocks the position of one of the student's."""
        alive = self.alive(values)
        return [alive[at] for at in self.distances(student, teacher, values).argmin(1).tolist()] if alive else []

    def _open(self, hidden: Tensor, values: Values) -> Tensor:
        """Return a hidden state without its closed dimensions."""
        for name in self._plan.hidden:
            if len(values[name]) == hidden.shape[-1]:
                return hidden * values[name]
        return hidden
