"""The right class against the others, and those apart (DKD; Zhao et al. 2022, arXiv 2203.08679); experimental."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from edgekd.distill.loss import Loss
from edgekd.schema import Field
from edgekd.train.answer import Answer


class Dkd(Loss):
    """alpha * KL of (right, not right) + beta * KL among the wrong classes, at temperature T, times T².

    The split, alpha = 1, beta = 8 and T = 4 are the paper's (beta between 1 and 10 by data set there). edgekd's own
    choice is to take the wrong classes' distribution as differences of logarithms instead of masking by a large number.
    """

    class Config(Loss.Config):
        """Options of the loss."""

        alpha: float = Field(default=1.0, ge=0, le=1e6, description="weight of the right class against all others")
        beta: float = Field(default=8.0, ge=0, le=1e6, description="weight of the relation among the wrong classes")
        temperature: float = Field(default=4.0, gt=0, le=100, description="T: softens both distributions")

    uses_labels: ClassVar[bool] = True

    experimental: ClassVar[bool] = True

    config: Config

    def compare(self, student: Answer, teacher: Answer, labels: Tensor) -> Tensor:
        """Return the mean over the batch."""
        T = self.config.temperature
        right = F.one_hot(labels, student.logits.shape[1]).bool()
        of_student, of_teacher = _parts(student.logits / T, right), _parts(teacher.logits / T, right)
        target = F.kl_div(of_student[0], of_teacher[0], reduction="batchmean", log_target=True)
        others = F.kl_div(of_student[1], of_teacher[1], reduction="batchmean", log_target=True)
        return (self.config.alpha * target + self.config.beta * others) * T**2


def _parts(logits: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
    """Return the log-probabilities (B, 2) of right and wrong, and those (B, K - 1) of the wrong classes alone."""
    wrong = logits[~right].view(len(logits), -1)
    mass = wrong.logsumexp(1, keepdim=True)
    both = torch.cat([logits[right][:, None], mass], 1)
    return F.log_softmax(both, 1), wrong - mass
