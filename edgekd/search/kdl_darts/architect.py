"""The steps of the alphas: cross-entropy, the teacher's knowledge and expected latency, on samples no weight sees."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from edgekd.distill.objective import DistillObjective
from edgekd.search.kdl_darts.costs import CostTable
from edgekd.search.kdl_darts.supernet import MixedCells
from edgekd.train.batches import Batch, order


class HeldOut:
    """A batch for every step of the alphas, in a new order each time all samples were seen."""

    def __init__(self, samples: Batch, batch: int, seed: int) -> None:
        self._samples, self._seed, self._size = samples, seed, min(batch, len(samples.labels))

    def at(self, step: int) -> Batch:
        """Return the batch of a step."""
        epoch, position = divmod(step, len(self._samples.labels) // self._size)
        samples = list(order(self._seed, epoch, len(self._samples.labels), self._size))[position]
        index = torch.from_numpy(samples)
        teacher = None if self._samples.teacher is None else self._samples.teacher.each(lambda tensor: tensor[index])
        return Batch(self._samples.inputs[index], self._samples.labels[index], teacher)


@dataclass(frozen=True)
class Architect:
    """Moves the alphas after every step of the weights (first-order DARTS): L = CE + lambda1 KD + lambda2 C(alpha).

    C is the expected latency in units of the one that is aimed at. `resting` steps pass before the first one.
    """

    cells: MixedCells
    held_out: HeldOut
    objective: DistillObjective
    costs: CostTable
    aim_ms: float
    cost_weight: float
    adam: torch.optim.Adam
    steps_an_epoch: int
    resting: int

    def __call__(self, step: int, model: nn.Module) -> None:
        """Do one step; the gradients of the weights are left as they are."""
        if step >= self.resting:
            self._step(model, step)
        epoch, position = divmod(step, self.steps_an_epoch)
        if position == self.steps_an_epoch - 1:
            self.cells.trace[epoch] = self.cells.alpha.detach()

    def _step(self, model: nn.Module, step: int) -> None:
        alpha = self.cells.alpha
        alpha.requires_grad_(True)
        try:
            loss = self.objective(model, self.held_out.at(step)).total
            cost = self.costs.expected(self.cells.shares()) / self.aim_ms
            (alpha.grad,) = torch.autograd.grad(loss + self.cost_weight * cost, [alpha])
            self.adam.step()
        finally:
            alpha.grad = None
            alpha.requires_grad_(False)
