"""The two trainings that take turns: shared weights by the training samples, logits by samples no weight has seen."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count

import torch
from torch import Tensor, nn

from edgekd.errors import TrainingError
from edgekd.search.tas.config import TasConfig
from edgekd.search.tas.cost import Tables, cost_loss
from edgekd.search.tas.supernet import Supernet
from edgekd.train.batches import Batch, Batches
from edgekd.train.evaluate import laid_out
from edgekd.train.objective import Terms
from edgekd.train.task import Task


@dataclass
class Turns:
    """What is done after every step of the weights: the logits make theirs.

    Cross-entropy plus lambda L_cost by the likeliest network's cost, Adam, and a temperature that falls along a cosine
    are the paper's; their sizes are ours.
    """

    net: Supernet
    config: TasConfig
    tables: Tables
    limit_ms: float
    task: Task
    held_out: Batches
    steps: int
    """Of the weights, over all epochs."""
    _coming: Iterator[Batch] | None = field(default=None, init=False)

    def objective(self, model: nn.Module, batch: Batch) -> Terms:
        """Return what the weights minimise."""
        return Terms(self.task.loss(model(batch.inputs), batch.labels))

    def __call__(self, step: int, model: nn.Module) -> None:
        """Move the logits once; raises TrainingError when their loss is no finite number."""
        del model  # the network, as the loop knows it
        decisions = self.net.decisions
        logits = decisions.logits.clone().requires_grad_()
        loss, expected = self._loss(logits, self._batch(step))
        if not math.isfinite(float(loss.detach())):
            raise TrainingError(
                f"tas: the logits' loss became {float(loss.detach())} in step {step + 1}; lower learning_rate "
                f"({self.config.learning_rate:g}) or logits_learning_rate ({self.config.logits_learning_rate:g})"
            )
        (gradient,) = torch.autograd.grad(loss, logits)
        decisions.move(gradient, self.config.logits_learning_rate)
        decisions.temperature.fill_(temperature(self.config, step + 1, self.steps))
        decisions.costs[step * self.config.epochs // self.steps] = float(expected.detach())

    def _loss(self, logits: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return what the logits minimise, and the expected milliseconds."""
        told = self.task.loss(self.net(laid_out(batch.inputs), logits), batch.labels)
        expected = self.tables.expected(self.net.decisions.probabilities(logits))
        now = self.tables.of(self.net.decisions.likeliest())
        cost = cost_loss(expected, now, self.limit_ms, self.config.tolerance)
        return told + self.config.cost_weight * cost, expected

    def _batch(self, step: int) -> Batch:
        """Return the batch of a step; a training that goes on begins in the middle."""
        if self._coming is None:
            self._coming = _following(self.held_out, step)
        return next(self._coming)


def temperature(config: TasConfig, step: int, steps: int) -> float:
    """Return the temperature of a step, counted from 0."""
    share = 0.5 * (1 + math.cos(math.pi * min(1.0, step / max(1, steps - 1))))
    return config.last_temperature + (config.first_temperature - config.last_temperature) * share


def _following(batches: Batches, start: int) -> Iterator[Batch]:
    for epoch in count(start // len(batches)):
        for position, batch in enumerate(batches.epoch(epoch)):
            if epoch * len(batches) + position >= start:
                yield batch
