"""Masks and weights trained together, under the network as it was before."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from edgekd.distill.loss import Loss, create
from edgekd.distill.taps import Taps
from edgekd.errors import TrainingError, UsageError
from edgekd.models.mode import evaluating
from edgekd.prune.cofi.config import CofiConfig
from edgekd.prune.cofi.layers import LayerDistillation
from edgekd.prune.cofi.masks import Masked, Masks
from edgekd.prune.cofi.plan import Plan, Values
from edgekd.prune.cofi.sparsity import Lagrangian, Parameters
from edgekd.stage import Progress
from edgekd.train.answer import Answer
from edgekd.train.batches import Batch, Batches
from edgekd.train.task import Task

_KL = "logits-kl"


@dataclass
class MaskTraining:
    """What a training of masks consists of; `model` is trained in place.

    The Lagrangian over expected sparsity with a target that warms up, layer distillation and the soft labels of the
    unpruned network are the paper's. Cross-entropy with the labels beside them, AdamW and a linear fall of the weights'
    learning rate, Adam for masks and multipliers, and all defaults are our choice.
    """

    model: nn.Module
    plan: Plan
    config: CofiConfig
    task: Task
    seed: int
    counted: Parameters = field(init=False)
    masks: Masks = field(init=False)

    def __post_init__(self) -> None:
        self.counted = Parameters(self.model, self.plan)
        self.masks = Masks(self.plan)

    def run(self, batches: Batches, progress: Progress) -> None:
        """Train; the result is in `model` and `masks`.

        Raises TrainingError when the loss stops being a finite number, UsageError where the network has no residual
        blocks and a layer_weight asks for their outputs.
        """
        torch.manual_seed(self.seed)
        random = torch.Generator().manual_seed(self.seed)
        steps = self.config.epochs * len(batches)
        step_of = _Step(self, steps, next(iter(batches.epoch(0))), random)
        self.model.train()
        with progress.task("masks", steps) as advance:
            for step, batch in enumerate(_all(batches, self.config.epochs)):
                loss, sparsity = step_of(step, batch)
                if not math.isfinite(loss):
                    raise TrainingError(
                        f"masks: the loss became {loss} in step {step + 1} of {steps}; lower learning_rate "
                        f"({self.config.learning_rate:g}) or mask_learning_rate ({self.config.mask_learning_rate:g})"
                    )
                advance(1, f"loss {loss:.3f}, sparsity {sparsity:.3f}")
        self.model.eval()


def _all(batches: Batches, epochs: int) -> Iterator[Batch]:
    for epoch in range(epochs):
        yield from batches.epoch(epoch)


class _Step:
    """One step: weights and masks descend, multipliers ascend."""

    def __init__(self, training: MaskTraining, steps: int, first: Batch, random: torch.Generator) -> None:
        config, model, plan = training.config, training.model, training.plan
        self._training, self._steps, self._random = training, steps, random
        self._teacher = copy.deepcopy(model).eval().requires_grad_(False)
        self._kl: Loss = create({_KL: {"temperature": config.temperature}})[_KL]
        self._lagrangian = Lagrangian(config.sparsity, round(config.warmup_share * steps))
        self._layers = _layer_distillation(model, plan, first) if config.layer_weight else None
        paths = self._layers.paths if self._layers is not None else ()
        self._taps, self._teacher_taps = Taps(model, paths), Taps(self._teacher, paths)
        trained = [*model.parameters(), *(self._layers.parameters() if self._layers is not None else ())]
        self._weights = torch.optim.AdamW(trained, lr=config.learning_rate, weight_decay=config.weight_decay)
        self._masks = torch.optim.Adam(training.masks.parameters(), lr=config.mask_learning_rate)
        self._multipliers = torch.optim.Adam(
            self._lagrangian.parameters(), lr=config.multiplier_learning_rate, maximize=True
        )

    def __call__(self, step: int, batch: Batch) -> tuple[float, float]:
        """Return the loss without the Lagrangian, and the expected sparsity."""
        training = self._training
        for group in self._weights.param_groups:
            group["lr"] = training.config.learning_rate * (1 - step / self._steps)
        values = training.masks.sampled(self._random)
        loss = self._distance(batch, values)
        sparsity = training.counted.sparsity(training.masks.probabilities())
        optimizers = (self._weights, self._masks, self._multipliers)
        value = float(loss.detach())
        if math.isfinite(value):
            for optimizer in optimizers:
                optimizer.zero_grad(set_to_none=True)
            (loss + self._lagrangian(sparsity, step)).backward()
            for optimizer in optimizers:
                optimizer.step()
        return value, float(sparsity.detach())

    def _distance(self, batch: Batch, values: Values) -> Tensor:
        config, task = self._training.config, self._training.task
        masked = Masked(self._training.model, self._training.plan, values)
        logits, hidden = self._taps(masked, batch.inputs)
        with torch.no_grad():
            told, theirs = self._teacher_taps(self._teacher, batch.inputs)
        rows, right = task.rows(logits, batch.labels)
        loss = config.label_weight * task.loss(logits, batch.labels)
        if config.logits_weight:
            answer = Answer(task.rows(told, batch.labels)[0])
            loss = loss + config.logits_weight * self._kl(Answer(rows), answer, right)
        if self._layers is not None:
            loss = loss + config.layer_weight * self._layers(hidden, theirs, values)
        return loss


def _layer_distillation(model: nn.Module, plan: Plan, batch: Batch) -> LayerDistillation:
    paths = [block.name for block in plan.found.blocks]
    if not paths:
        raise UsageError(
            "stages.cofi.layer_weight: the network has no residual blocks whose outputs could be compared; set it to 0"
        )
    with evaluating(model), torch.no_grad():
        hidden = Taps(model, paths)(model, batch.inputs[:2])[1]
    widths = {own.shape[-1] for own in hidden}
    if len(widths) > 1:
        raise UsageError(
            f"stages.cofi.layer_weight: the residual blocks give states of the widths {sorted(widths)}, and one "
            "projection serves them all; set it to 0"
        )
    return LayerDistillation(plan, widths.pop())
