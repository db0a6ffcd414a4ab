"""Momentum that follows the teacher longer than the labels (DOT; Zhao et al. 2023, arXiv 2307.08436); experimental."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from edgekd.schema import Field, Schema
from edgekd.train.optimizer import LoopConfig, Optimizer, TwoGradients


class Dot(Optimizer):
    """SGD with two momentum buffers: v_task decays by momentum - delta, v_kd by momentum + delta.

    The two buffers and the step lr * (v_task + v_kd) are the paper's, as is delta = 0.075 at momentum 0.9. edgekd's own
    choice is to keep the sum v = v_task + v_kd and v_kd, so that delta = 0 is torch's SGD without Nesterov to the bit,
    and to count weight decay as part of the task's gradient. A step costs a second backward pass.
    """

    class Config(Schema):
        """Options of the optimizer."""

        delta: float = Field(default=0.075, ge=0, lt=1, description="what the teacher's momentum has more than asked")

    config: Config

    def build(self, groups: list[dict[str, Any]], loop: LoopConfig) -> torch.optim.Optimizer:
        """Return the optimizer."""
        return _Dot(groups, loop.learning_rate, loop.momentum, self.config.delta)


class _Dot(TwoGradients):
    def __init__(self, groups: list[dict[str, Any]], lr: float, momentum: float, delta: float) -> None:
        super().__init__(groups, {"lr": lr, "momentum": momentum, "delta": delta, "weight_decay": 0.0})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Move every parameter that has a gradient; `teacher_gradients` are its part that comes from the teacher."""
        del closure
        given = iter(self.teacher_gradients)
        for group in self.param_groups:
            for parameter in group["params"]:
                of_teacher = next(given, None)
                if parameter.grad is not None:
                    gradient = parameter.grad.add(parameter, alpha=group["weight_decay"])
                    self._move(parameter, gradient, of_teacher, group)

    def _move(self, parameter: Tensor, gradient: Tensor, of_teacher: Tensor | None, group: dict[str, Any]) -> None:
        momentum, delta, state = group["momentum"], group["delta"], self.state[parameter]
        if not state:
            state["both"] = torch.clone(gradient).detach()
            state["teacher"] = torch.zeros_like(parameter) if of_teacher is None else of_teacher.clone()
        elif of_teacher is None:  # seen by the labels alone: plain momentum
            state["both"].mul_(momentum).add_(gradient)
        else:
            both, teacher = state["both"], state["teacher"]
            # v_task + v_kd = (m - d)(v - v_kd) + (m + d) v_kd + g = m v + d (2 v_kd - v) + g
            apart = 2 * teacher - both
            both.mul_(momentum).add_(gradient)
            if delta:
                both.add_(apart, alpha=delta)
            teacher.mul_(momentum + delta).add_(of_teacher)
        parameter.add_(state["both"], alpha=-group["lr"])
