"""Forward and reverse divergence, balanced sample by sample (BD-KD; Amara et al. 2022); experimental."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from edgekd.distill.loss import Loss
from edgekd.schema import Field
from edgekd.train.answer import Answer


class BdKd(Loss):
    """w_f * KL(p_T || p_S) + w_r * KL(p_S || p_T) at temperature T, times T².

    Weighing both directions per sample by the gap between the entropies of teacher and student is the paper's. Which
    side weighs more is edgekd's own choice: a student more certain than its teacher is told by the forward divergence
    what it leaves out, a less certain one by the reverse divergence what it should not believe. So is leaving out the
    paper's second half, a teacher that learns at the same time: here the teacher has answered once and for all.
    """

    class Config(Loss.Config):
        """Options of the loss."""

        larger: float = Field(default=1.0, gt=0, le=1e6, description="weight of the direction a sample needs more")
        smaller: float = Field(default=0.5, ge=0, le=1e6, description="weight of the other direction")
        temperature: float = Field(default=4.0, gt=0, le=100, description="T: softens both distributions")

    experimental: ClassVar[bool] = True

    config: Config

    def compare(self, student: Answer, teacher: Answer, labels: Tensor) -> Tensor:
        """Return the mean over the batch; labels are not looked at."""
        del labels
        T = self.config.temperature
        log_p_S, log_p_T = F.log_softmax(student.logits / T, dim=1), F.log_softmax(teacher.logits / T, dim=1)
        certain = _entropy(log_p_S.detach()) < _entropy(log_p_T)
        w_f = torch.where(certain, self.config.larger, self.config.smaller)
        w_r = torch.where(certain, self.config.smaller, self.config.larger)
        forward = (log_p_T.exp() * (log_p_T - log_p_S)).sum(1)
        reverse = (log_p_S.exp() * (log_p_S - log_p_T)).sum(1)
        return (w_f * forward + w_r * reverse).mean() * T**2


def _entropy(log_p: Tensor) -> Tensor:
    return -(log_p.exp() * log_p).sum(1)
