"""Contrasting parts of feature maps at several scales (MSDCRD; Wang et al. 2025, arXiv 2502.05835); experimental."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from edgekd.distill.last_features import LastFeatures
from edgekd.distill.loss import Loss
from edgekd.distill.relation import diverging_similarities
from edgekd.schema import Field
from edgekd.train.answer import Answer


class Msdcrd(LastFeatures):
    """Which sample of the batch, and which channel, a local part of the last features resembles, at several scales.

    Windows of several sizes that split a map into local samples, and contrast over samples and over channels within one
    batch, without a memory bank, are the paper's. Its InfoNCE asks that a part resembles nothing but its own; edgekd's
    own choice is to ask for the resemblance the teacher shows, so that the teacher's own features are the minimum. So
    is a projection where widths differ.
    """

    class Config(Loss.Config):
        """Options of the loss."""

        scales: tuple[int, ...] = Field(default=(1, 2, 4), min_length=1, description="windows along each side of a map")
        temperature: float = Field(default=0.1, gt=0, le=100, description="of the similarities")
        channels: float = Field(default=1.0, ge=0, le=1e6, description="weight of the contrast over channels")

    experimental: ClassVar[bool] = True

    config: Config

    def compare(self, student: Answer, teacher: Answer, labels: Tensor) -> Tensor:
        """Return the mean over scales; labels are not looked at."""
        del labels
        ours, theirs = self.last(student, teacher)
        found = []
        for scale in self.config.scales:
            s, t = _windows(ours, scale), _windows(theirs, scale)
            over_samples = diverging_similarities(s, t, t, self.config.temperature)
            s, t = s.transpose(1, 2), t.transpose(1, 2)
            over_channels = diverging_similarities(s, t, t, self.config.temperature)
            found.append(over_samples + self.config.channels * over_channels)
        return torch.stack(found).mean()


def _windows(features: Tensor, scale: int) -> Tensor:
    """Return the local samples (windows, B, C) of maps (B, C, H, W) or tokens (B, T, C)."""
    if features.dim() == 4:
        size = (min(scale, features.shape[2]), min(scale, features.shape[3]))
        return F.adaptive_avg_pool2d(features, size).flatten(2).permute(2, 0, 1)
    return F.adaptive_avg_pool1d(features.transpose(1, 2), min(scale**2, features.shape[1])).permute(2, 0, 1)
