"""The training loop: resumable between epochs, bit-identical to an undisturbed run with the same threads."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from edgekd.errors import TrainingError
from edgekd.schema import digest_of
from edgekd.stage import Advance, Progress
from edgekd.train import resume
from edgekd.train.batches import AugmentedBatches, Batch, Batches
from edgekd.train.memory_format import memory_format
from edgekd.train.optimizer import LoopConfig, learning_rate, optimizer
from edgekd.train.resume import History

__all__ = ["AugmentedBatches", "Batch", "Batches", "History", "LoopConfig", "Objective", "OnStep", "train"]

log = logging.getLogger("edgekd")

Objective = Callable[[nn.Module, Batch], Tensor]
"""Runs the model on a batch and returns the scalar loss."""

_LOOKED_AT = 2
"""Images by which it is found out how they should lie in memory."""

OnStep = Callable[[int, nn.Module], None]
"""Called after every step with its number (from 0, over all epochs); the gradients of the step are still in place."""


def train(
    model: nn.Module,
    batches: Batches,
    objective: Objective,
    config: LoopConfig,
    *,
    folder: Path,
    title: str,
    progress: Progress | None = None,
    score: Callable[[nn.Module], float] | None = None,
    on_step: OnStep | None = None,
) -> History:
    """Train `model` in place and leave it in eval mode; `score` is taken after every epoch.

    Called again on the same `folder` with a fresh model of the same shape, it goes on after the last finished epoch;
    a folder left by a training with another config is started over. The number of threads is the caller's.
    Raises TrainingError when the loss or a weight stops being a finite number, naming the last good epoch.
    """
    layout = memory_format(model, next(iter(batches.epoch(0))).images[:_LOOKED_AT])
    model.to(memory_format=layout)  # type: ignore[call-overload]
    state, step_of = _begin(model, batches, config, folder, title)
    steps = config.epochs * len(batches)
    with (progress or Progress()).task(title, steps) as advance:
        advance(state.history.epochs * len(batches))
        for epoch in range(state.history.epochs, config.epochs):
            started = time.perf_counter()
            run = _Epoch(model, layout, step_of, objective, config, steps, on_step, advance)
            where = f"{title}: {_last_good(epoch, folder)}"
            loss, images = run(batches, epoch, where)
            if not all(bool(torch.isfinite(tensor).all()) for tensor in model.state_dict().values()):
                raise TrainingError(f"{where}; a weight is no longer finite after epoch {epoch + 1}; {_cure(config)}")
            scores = (score(model),) if score is not None else ()
            history = state.history
            state = state.replace(
                history=History(
                    losses=(*history.losses, loss),
                    scores=(*history.scores, *scores),
                    images=history.images + images,
                    seconds=history.seconds + time.perf_counter() - started,
                )
            )
            resume.write(folder, state, model, step_of)
    model.eval()
    return state.history


def _begin(
    model: nn.Module, batches: Batches, config: LoopConfig, folder: Path, title: str
) -> tuple[resume.State, torch.optim.Optimizer]:
    step_of = optimizer(model, config)
    shapes = {name: list(tensor.shape) for name, tensor in model.state_dict().items()}
    fingerprint = digest_of([config.plain(), len(batches), shapes])
    found = resume.read(folder)
    if found is not None and found.fingerprint == fingerprint:
        resume.restore(folder, model, step_of)
        log.info("%s: going on after epoch %d of %d", title, found.history.epochs, config.epochs)
        return found, step_of
    if found is not None:
        log.warning("%s: %s holds another training (options or network changed); starting over", title, folder)
    return resume.State(fingerprint=fingerprint, history=History()), step_of


@dataclass(frozen=True)
class _Epoch:
    """One pass over the data."""

    model: nn.Module
    layout: torch.memory_format
    step_of: torch.optim.Optimizer
    objective: Objective
    config: LoopConfig
    steps: int
    on_step: OnStep | None
    advance: Advance

    def __call__(self, batches: Batches, epoch: int, where: str) -> tuple[float, int]:
        """Return the mean loss and the number of images."""
        self.model.train()
        total, images = 0.0, 0
        for position, batch in enumerate(batches.epoch(epoch)):
            step = epoch * len(batches) + position
            loss = self._step(batch, step)
            if not math.isfinite(loss):
                raise TrainingError(
                    f"{where}; the loss became {loss} in epoch {epoch + 1}, step {position + 1}; {_cure(self.config)}"
                )
            if self.on_step is not None:
                self.on_step(step, self.model)
            total += loss * len(batch.labels)
            images += len(batch.labels)
            self.advance(1, f"loss {loss:.3f}")
        return total / max(1, images), images

    def _step(self, batch: Batch, step: int) -> float:
        """Move the weights, unless the loss is not finite."""
        batch.images = batch.images.contiguous(memory_format=self.layout)
        for group in self.step_of.param_groups:
            group["lr"] = learning_rate(self.config, step, self.steps)
        self.step_of.zero_grad(set_to_none=True)
        with torch.autocast(batch.images.device.type, torch.bfloat16, enabled=self.config.precision == "bf16"):
            loss = self.objective(self.model, batch)
        value = float(loss.detach())
        if math.isfinite(value):
            loss.backward()  # type: ignore[no-untyped-call]
            if self.config.clip is not None:
                nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip)
            self.step_of.step()
        return value


def _cure(config: LoopConfig) -> str:
    return f"lower learning_rate ({config.learning_rate:g}) or set clip"


def _last_good(epoch: int, folder: Path) -> str:
    return f"the last good epoch is {epoch}, kept in {folder}" if epoch else "there is no good epoch"
