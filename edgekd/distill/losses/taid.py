"""A target between the student's answer and the teacher's (TAID; Shing et al. 2025, arXiv 2501.16937); experimental."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from edgekd.distill.loss import Loss
from edgekd.schema import Field
from edgekd.train.answer import Answer


class Taid(Loss):
    """KL(p_t || p_S) with p_t = softmax((1 - t) * student + t * teacher), the student's part without gradient.

    Interpolation, the adaptive rule for t and its constants are the paper's, which is about language models at
    temperature 1; a temperature for both sides, times T², is edgekd's own choice. t never falls; it rises at least
    along a line from `start` to `end`, faster while the loss falls.
    """

    class Config(Loss.Config):
        """Options of the loss."""

        start: float = Field(default=0.4, ge=0, le=1, description="t at the first step")
        end: float = Field(default=1.0, gt=0, le=1, description="t at the last step")
        rate: float = Field(default=5e-4, ge=0, le=1, description="how fast t rises on its own")
        inertia: float = Field(default=0.99, ge=0, lt=1, description="how much the trend of the loss remembers")
        temperature: float = Field(default=4.0, gt=0, le=100, description="T: softens both distributions")

    experimental: ClassVar[bool] = True

    config: Config
    t: Tensor
    trend: Tensor
    previous: Tensor
    step: Tensor

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.steps = 0
        self.register_buffer("t", torch.tensor(config.start, dtype=torch.float64))
        self.register_buffer("trend", torch.zeros((), dtype=torch.float64))
        self.register_buffer("previous", torch.tensor(torch.nan, dtype=torch.float64))
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))

    def prepare(self, student: Answer, teacher: Answer, steps: int) -> None:
        """Learn how long the line from start to end is."""
        del student, teacher
        self.steps = steps

    def compare(self, student: Answer, teacher: Answer, labels: Tensor) -> Tensor:
        """Return the mean over the batch and, in a training step, move t; labels are not looked at."""
        del labels
        T, t = self.config.temperature, float(self.t)
        target = F.log_softmax(((1 - t) * student.logits.detach() + t * teacher.logits) / T, dim=1)
        log_p_S = F.log_softmax(student.logits / T, dim=1)
        value = F.kl_div(log_p_S, target, reduction="batchmean", log_target=True) * T**2
        if self.training and torch.is_grad_enabled():
            self._move(float(value.detach()))
        return value

    def _move(self, value: float) -> None:
        config, before = self.config, float(self.previous)
        self.previous.fill_(value)
        self.step += 1
        line = config.start + (config.end - config.start) * min(1.0, int(self.step) / max(1, self.steps))
        t = float(self.t)
        if before > 0:  # not in the first step, where it is NaN
            fallen = (before - value) / before
            self.trend.mul_(config.inertia).add_((1 - config.inertia) * fallen)
            t += config.rate * float(torch.sigmoid(self.trend)) * (1 - t)
        self.t.fill_(min(config.end, max(float(self.t), t, line if self.steps else config.start)))
