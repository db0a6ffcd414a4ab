"""A student of the teacher's kind, by generations (Furlanello et al. 2018, arXiv 1805.04770); experimental."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from edgekd.distill.loss import Loss
from edgekd.schema import Field
from edgekd.train.answer import Answer


class BornAgain(Loss):
    """KL(p_T || p_S) at temperature 1, or what the paper takes it apart into.

    `cwtm`: cross-entropy with the labels, each sample weighted by the teacher's confidence in it. `dkpp`: the teacher's
    probabilities with all but the largest permuted. All three are the paper's, which writes cross-entropy in place of
    the divergence: the gradient is the same. Use it with label_weight 1 for plain and dkpp, 0 for cwtm, and with
    `schedule: generations`.
    """

    class Config(Loss.Config):
        """Options of the loss."""

        mode: Literal["plain", "cwtm", "dkpp"] = Field(default="plain", description="what of the teacher is used")

    uses_labels: ClassVar[bool] = True

    experimental: ClassVar[bool] = True

    config: Config

    def compare(self, student: Answer, teacher: Answer, labels: Tensor) -> Tensor:
        """Return the mean over the batch."""
        log_p_S, log_p_T = F.log_softmax(student.logits, dim=1), F.log_softmax(teacher.logits, dim=1)
        if self.config.mode == "cwtm":
            confidence = log_p_T.exp().amax(1)
            weights = confidence / confidence.sum()
            return (weights * F.nll_loss(log_p_S, labels, reduction="none")).sum()
        if self.config.mode == "dkpp":
            log_p_T = permuted(log_p_T)
        return F.kl_div(log_p_S, log_p_T, reduction="batchmean", log_target=True)


def permuted(log_p: Tensor) -> Tensor:
    """Return rows whose values but the largest are in random order, drawn from torch's global random numbers."""
    largest = log_p.argmax(1, keepdim=True)
    others = torch.ones_like(log_p, dtype=torch.bool).scatter_(1, largest, False)
    wrong = log_p[others].view(len(log_p), -1)
    order = torch.rand_like(wrong).argsort(1)
    return log_p.masked_scatter(others, wrong.gather(1, order))
