"""The teacher's few likeliest classes, calibrated first (FIRST; Shum et al. 2024, arXiv 2408.12168); experimental."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from edgekd.distill.loss import Loss
from edgekd.schema import Field
from edgekd.train.answer import Answer
from edgekd.train.calibration import ece

_SEARCHED = np.geomspace(0.25, 4.0, 33)


class First(Loss):
    """KL over the teacher's k likeliest classes, after its logits were divided by the temperature of least ECE.

    Keeping k = 5 classes and re-scaling them to be trustworthy before they teach are the paper's. edgekd's own choices:
    the temperature is searched on a grid over validation, and what the k classes do not hold is one class more, in
    teacher and student, so that a student cannot hide mass outside.
    """

    class Config(Loss.Config):
        """Options of the loss."""

        k: int = Field(default=5, ge=1, le=65_535, description="classes of a decision that teach")
        calibrated: bool = Field(default=True, description="whether the teacher is calibrated on validation first")

    calibrates: ClassVar[bool] = True

    experimental: ClassVar[bool] = True

    config: Config
    temperature: Tensor

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.register_buffer("temperature", torch.ones((), dtype=torch.float64))

    def calibrate(self, teacher: Tensor, labels: Tensor) -> None:
        """Take the temperature at which the teacher's confidence is closest to its accuracy on validation."""
        if self.config.calibrated:
            logits, right = teacher.double().numpy(), labels.numpy()
            errors = [ece(logits / temperature, right) for temperature in _SEARCHED]
            self.temperature.fill_(float(_SEARCHED[int(np.argmin(errors))]))

    def compare(self, student: Answer, teacher: Answer, labels: Tensor) -> Tensor:
        """Return the mean over the batch; labels are not looked at."""
        del labels
        log_p_T = F.log_softmax(teacher.logits / float(self.temperature), dim=1)
        log_p_S = F.log_softmax(student.logits, dim=1)
        classes = log_p_T.topk(min(self.config.k, log_p_T.shape[1]), 1).indices
        return F.kl_div(_few(log_p_S, classes), _few(log_p_T, classes), reduction="batchmean", log_target=True)


def _few(log_p: Tensor, classes: Tensor) -> Tensor:
    """Return the log-probabilities (B, k + 1) of the classes (B, k) and of all others together."""
    kept = log_p.gather(1, classes)
    if classes.shape[1] == log_p.shape[1]:
        return kept
    others = log_p.scatter(1, classes, -torch.inf).logsumexp(1, keepdim=True)
    return torch.cat([kept, others], 1)
