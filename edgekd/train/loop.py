"""The training loop: resumable between epochs, bit-identical to an undisturbed run with the same threads."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from edgekd.errors import TrainingError, UsageError
from edgekd.schema import digest_of
from edgekd.stage import Advance, Progress
from edgekd.train import resume
from edgekd.train.batches import AugmentedBatches, Batch, Batches
from edgekd.train.compiling import compiled, pays
from edgekd.train.evaluate import laid_out
from edgekd.train.memory_format import memory_format
from edgekd.train.objective import Objective, Terms
from edgekd.train.optimizer import LoopConfig, TwoGradients, learning_rate, optimizer, parameters_of
from edgekd.train.parallel import Peers, peers
from edgekd.train.resume import History, Parts

__all__ = ["AugmentedBatches", "Batch", "Batches", "History", "LoopConfig", "Objective", "OnStep", "Terms", "train"]

log = logging.getLogger("edgekd")

_LOOKED_AT = 2
"""Samples by which it is found out how they should lie in memory."""

_HALF = {"bf16": torch.bfloat16, "fp16": torch.float16}

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
    until: int | None = None,
) -> History:
    """Train `model` in place and leave it in eval mode; `score` is taken after every epoch, higher is better.

    Called again on the same `folder` with a fresh model of the same shape, it goes on after the last finished epoch;
    a folder left by a training with another config is started over. With `until` it stops after so many epochs of the
    same schedule, to be called again with more or without; one that has gone further than that is started over. The
    result is bit-identical to that of a training that never stopped. The number of threads is the caller's. Where
    torch.distributed is in use, its processes train together and share `folder`; the first of them writes it.
    Raises TrainingError when the loss or a weight stops being a finite number, naming the last good epoch, UsageError
    for options that exclude each other.
    """
    _refuse(config, score)
    first = next(iter(batches.epoch(0)))
    layout = memory_format(model, first.inputs[:_LOOKED_AT])
    model.to(memory_format=layout)  # type: ignore[call-overload]
    last = config.epochs if until is None else min(until, config.epochs)
    state, parts = _begin(model, batches, objective, config, folder, title, last)
    steps, together = config.epochs * len(batches), peers()
    if config.compile == "auto" and state.compiled is None:
        left = steps - state.history.epochs * len(batches)
        state = state.replace(compiled=not together.any(not pays(model, first, objective, left)))
    network = together.wrapped(compiled(model) if state.compiled else model)
    scaler = torch.amp.GradScaler(first.inputs.device.type, enabled=config.precision == "fp16")
    if state.scaler is not None:
        scaler.load_state_dict(state.scaler)
    with (progress or Progress()).task(title, last * len(batches)) as advance:
        advance(state.history.epochs * len(batches))
        for epoch in range(state.history.epochs, last):
            if exhausted(state.history.scores, config.patience):
                log.info("%s: stopped after epoch %d, %d without a better one", title, epoch, config.patience)
                break
            started = time.perf_counter()
            run = _Epoch(network, parts, layout, objective, config, steps, on_step, advance, scaler, together)
            where = f"{title}: {_last_good(epoch, folder)}"
            loss, samples = run(batches, epoch, where)
            if not all(bool(torch.isfinite(tensor).all()) for tensor in model.state_dict().values()):
                raise TrainingError(f"{where}; a weight is no longer finite after epoch {epoch + 1}; {_cure(config)}")
            done = _judged(parts, state.history, config, score).replace(
                losses=(*state.history.losses, loss),
                images=state.history.images + samples,
                seconds=state.history.seconds + time.perf_counter() - started,
            )
            state = state.replace(history=done, scaler=scaler.state_dict() or None)
            if together.leads:
                resume.write(folder, state, parts)
            together.wait()
    _take(parts)
    model.eval()
    return state.history


def exhausted(scores: tuple[float, ...], patience: int | None) -> bool:
    """Return whether the last `patience` scores all failed to be better than one before them."""
    if patience is None or not scores:
        return False
    return len(scores) - 1 - scores.index(max(scores)) >= patience


def _refuse(config: LoopConfig, score: object) -> None:
    if config.patience is not None and score is None:
        raise UsageError("patience needs something to judge epochs by, and this training takes no score")
    if config.precision == "fp16" and config.optimizer == "dot":
        raise UsageError("optimizer 'dot' takes two gradients and fp16 scales one; choose precision bf16 or fp32")


def _begin(  # noqa: PLR0917 - what a training begins with
    model: nn.Module, batches: Batches, objective: Objective, config: LoopConfig, folder: Path, title: str, last: int
) -> tuple[resume.State, Parts]:
    beside = objective if isinstance(objective, nn.Module) else None
    step_of = optimizer(model, config, beside.parameters() if beside is not None else ())
    averaged = None
    if config.ema is not None:
        averaged = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(config.ema), use_buffers=True)  # type: ignore[no-untyped-call]
    parts = Parts(model, step_of, beside, averaged)
    shapes = {
        name: {key: list(tensor.shape) for key, tensor in module.state_dict().items()} for name, module in parts.modules
    }
    fingerprint = digest_of([config.plain(), len(batches), shapes])
    found = resume.read(folder)
    if found is None:
        pass
    elif found.fingerprint != fingerprint:
        log.warning("%s: %s holds another training (options or network changed); starting over", title, folder)
    elif found.history.epochs > last:
        log.info("%s: %s is further than epoch %d, and what was then is not kept; starting over", title, folder, last)
    else:
        resume.restore(folder, parts)
        log.info("%s: going on after epoch %d of %d", title, found.history.epochs, config.epochs)
        return found, parts
    return resume.State(fingerprint=fingerprint, history=History()), parts


def _judged(parts: Parts, history: History, config: LoopConfig, score: Callable[[nn.Module], float] | None) -> History:
    """Return the history with this epoch's score, and keep the weights where it is the best so far."""
    if score is None:
        return history
    judged = parts.averaged.module if isinstance(parts.averaged, AveragedModel) else parts.model
    found = peers().of_leader(score(judged))
    if config.patience is not None and found > max(history.scores, default=-math.inf):
        parts.best = {name: tensor.clone() for name, tensor in judged.state_dict().items()}
    return history.replace(scores=(*history.scores, found))


def _take(parts: Parts) -> None:
    """Leave in the model the weights that stay: the best epoch's, else the average, else the last."""
    if parts.best:
        parts.model.load_state_dict(parts.best)
    elif isinstance(parts.averaged, AveragedModel):
        parts.model.load_state_dict(parts.averaged.module.state_dict())


@dataclass(frozen=True)
class _Epoch:
    """One pass over the data."""

    network: nn.Module
    """The model, in the wrappers it is trained in."""
    parts: Parts
    layout: torch.memory_format
    objective: Objective
    config: LoopConfig
    steps: int
    on_step: OnStep | None
    advance: Advance
    scaler: Any
    together: Peers

    def __call__(self, batches: Batches, epoch: int, where: str) -> tuple[float, int]:
        """Return the mean loss and the number of samples."""
        self.network.train()
        total, samples = 0.0, 0
        for position, batch in enumerate(batches.epoch(epoch)):
            step = epoch * len(batches) + position
            loss = self._step(self.together.share(batch), step)
            if not math.isfinite(loss):
                raise TrainingError(
                    f"{where}; the loss became {loss} in epoch {epoch + 1}, step {position + 1}; {_cure(self.config)}"
                )
            if self.on_step is not None:
                self.on_step(step, self.parts.model)
            total += loss * len(batch.labels)
            samples += len(batch.labels)
            self.advance(1, f"loss {loss:.3f}")
        return total / max(1, samples), samples

    def _step(self, batch: Batch, step: int) -> float:
        """Move the weights, unless the loss is not finite; return it."""
        step_of = self.parts.step_of
        batch.inputs = laid_out(batch.inputs, self.layout)
        for group in step_of.param_groups:
            group["lr"] = learning_rate(self.config, step, self.steps)
        step_of.zero_grad(set_to_none=True)
        half = _HALF.get(self.config.precision)
        with torch.autocast(batch.inputs.device.type, half or torch.bfloat16, enabled=half is not None):
            terms = self.objective(self.network, batch)
        value = self.together.mean(float(terms.total.detach()))
        if math.isfinite(value):
            if isinstance(step_of, TwoGradients):
                step_of.teacher_gradients = self._of_teacher(terms)
            self.scaler.scale(terms.total).backward()
            if self.parts.objective is not None:  # DDP averages the model's gradients, nobody those beside it
                self.together.average(parameter.grad for parameter in self.parts.objective.parameters())
            if self.config.clip is not None:
                self.scaler.unscale_(step_of)
                nn.utils.clip_grad_norm_(parameters_of(step_of), self.config.clip)
            self.scaler.step(step_of)
            self.scaler.update()
            if isinstance(self.parts.averaged, AveragedModel):
                self.parts.averaged.update_parameters(self.parts.model)
        return value

    def _of_teacher(self, terms: Terms) -> list[Tensor | None]:
        if terms.teacher is None:
            return []
        moved = parameters_of(self.parts.step_of)
        found: list[Tensor | None] = [*torch.autograd.grad(terms.teacher, moved, retain_graph=True, allow_unused=True)]
        self.together.average(found)
        return found


def _cure(config: LoopConfig) -> str:
    return f"lower learning_rate ({config.learning_rate:g}) or set clip"


def _last_good(epoch: int, folder: Path) -> str:
    return f"the last good epoch is {epoch}, kept in {folder}" if epoch else "there is no good epoch"
