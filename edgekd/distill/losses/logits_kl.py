"""Softened Kullback-Leibler divergence of the class probabilities (Hinton, Vinyals, Dean 2015, arXiv 1503.02531)."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from edgekd.distill.loss import Loss
from edgekd.schema import Field
from edgekd.train.answer import Answer


class LogitsKl(Loss):
    """KL(p_T || p_S) at temperature T, times T².

    Temperature and the factor T², which keeps the gradient's size independent of T, are the paper's; the default
    temperature is edgekd's own choice.
    """

    class Config(Loss.Config):
        """Options of the loss."""

        temperature: float = Field(default=4.0, gt=0, le=100, description="T: softens both distributions")

    config: Config

    def compare(self, student: Answer, teacher: Answer, labels: Tensor) -> Tensor:
        """Return the mean divergence over the batch; labels are not looked at."""
        del labels
        T = self.config.temperature
        log_p_S = F.log_softmax(student.logits / T, dim=1)
        log_p_T = F.log_softmax(teacher.logits / T, dim=1)
        return F.kl_div(log_p_S, log_p_T, reduction="batchmean", log_target=True) * T**2
