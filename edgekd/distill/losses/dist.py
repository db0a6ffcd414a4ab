"""Correlation of class probabilities within a sample and within a class (DIST; Huang et al. 2022, arXiv 2205.10536)."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor
from torch.nn import functional as F

from edgekd.distill.loss import Loss
from edgekd.schema import Field
from edgekd.train.answer import Answer


class Dist(Loss):
    """1 - Pearson correlation with the teacher, over a sample's classes (inter) and over a class's samples (intra).

    The two relations, their weights and the temperature are the paper's. edgekd's own choice is the form: 1 - r is
    written as half the squared distance of the standardised vectors, which is the same number, never negative, and
    exactly 0 with zero gradient for equal logits.
    """

    class Config(Loss.Config):
        """Options of the loss."""

        beta: float = Field(
            default=2.0, ge=0, le=1e6, description="weight of the relation between the classes of a sample"
        )
        gamma: float = Field(
            default=2.0, ge=0, le=1e6, description="weight of the relation between the samples of a class"
        )
        tau: float = Field(default=4.0, gt=0, le=100, description="temperature of both distributions")

    mean_of_samples: ClassVar[bool] = False  # the intra-class term correlates over the batch

    config: Config

    def compare(self, student: Answer, teacher: Answer, labels: Tensor) -> Tensor:
        """Return beta * inter + gamma * intra, times tau²; labels are not looked at."""
        del labels
        beta, gamma, tau = self.config.beta, self.config.gamma, self.config.tau
        y_s, y_t = F.softmax(student.logits / tau, dim=1), F.softmax(teacher.logits / tau, dim=1)
        inter = _uncorrelated(y_s, y_t)
        intra = _uncorrelated(y_s.T, y_t.T)
        return (beta * inter + gamma * intra) * tau**2


def _uncorrelated(a: Tensor, b: Tensor) -> Tensor:
    """Return the mean over rows of 1 - Pearson correlation."""
    return 0.5 * (_standardised(a) - _standardised(b)).square().sum(1).mean()


def _standardised(rows: Tensor) -> Tensor:
    """Return rows of mean 0 and length 1; a constant row, which correlates with nothing, becomes 0."""
    return F.normalize(rows - rows.mean(1, keepdim=True), dim=1, eps=1e-8)
