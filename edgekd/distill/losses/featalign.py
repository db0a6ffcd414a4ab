"""Features, attention maps and outputs together (FeatAlign-KD; Wang et al. 2024, arXiv 2412.19449); experimental."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgekd.distill.layer_map import Kind
from edgekd.distill.loss import Loss
from edgekd.distill.projection import at_one_resolution, projection
from edgekd.schema import Field
from edgekd.train.answer import Answer


class Featalign(Loss):
    """features * distance of projected features + attention * KL of attention maps + output * T² * KL of logits.

    The three terms, over several layers at once, are the paper's. edgekd's own choices: features differ by their
    squared distance relative to the teacher's squared length, so that weights mean the same in every network; widths
    are bridged by a linear projection trained beside the student; heads are averaged where their numbers differ.
    """

    class Config(Loss.Config):
        """Options of the loss."""

        features: float = Field(default=1.0, ge=0, le=1e6, description="weight of the features")
        attention: float = Field(default=0.0, ge=0, le=1e6, description="weight of the attention maps, of transformers")
        output: float = Field(default=1.0, ge=0, le=1e6, description="weight of the logits")
        temperature: float = Field(default=4.0, gt=0, le=100, description="T: softens both distributions of the logits")

    experimental: ClassVar[bool] = True

    config: Config

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.projections = nn.ModuleList()

    @property
    def needs(self) -> frozenset[Kind]:
        """Return what has a weight."""
        wanted: dict[Kind, float] = {"features": self.config.features, "attention": self.config.attention}
        return frozenset(kind for kind, weight in wanted.items() if weight)

    def prepare(self, student: Answer, teacher: Answer, steps: int) -> None:
        """Make a projection for every pair of layers."""
        del steps
        pairs = zip(student.features, teacher.features, strict=True)
        self.projections = nn.ModuleList(projection(ours, theirs) for ours, theirs in pairs)

    def compare(self, student: Answer, teacher: Answer, labels: Tensor) -> Tensor:
        """Return the weighted sum of the three terms; labels are not looked at."""
        del labels
        config, T = self.config, self.config.temperature
        log_p_S, log_p_T = (F.log_softmax(answer.logits / T, dim=1) for answer in (student, teacher))
        total = config.output * T**2 * F.kl_div(log_p_S, log_p_T, reduction="batchmean", log_target=True)
        if config.features:
            pairs = zip(self.projections, student.features, teacher.features, strict=True)
            total = total + config.features * torch.stack([_apart(p(ours), theirs) for p, ours, theirs in pairs]).mean()
        if config.attention:
            maps = zip(student.attention, teacher.attention, strict=True)
            total = total + config.attention * torch.stack([_diverging(ours, theirs) for ours, theirs in maps]).mean()
        return total


def _apart(student: Tensor, teacher: Tensor) -> Tensor:
    """Return the mean over samples of ||s - t||² / ||t||²."""
    ours, theirs = (features.flatten(1) for features in at_one_resolution(student, teacher))
    return ((ours - theirs).square().sum(1) / theirs.square().sum(1).clamp_min(1e-12)).mean()


def _diverging(student: Tensor, teacher: Tensor) -> Tensor:
    """Return the mean over samples, heads and queries of KL(t || s) of attention maps (B, heads, T, T)."""
    if student.shape[1] != teacher.shape[1]:
        student, teacher = student.mean(1, keepdim=True), teacher.mean(1, keepdim=True)
    log_s, log_t = student.clamp_min(1e-12).log(), teacher.clamp_min(1e-12).log()
    # The last two terms are equal for distributions; with them no rounding of a row's sum has a gradient.
    return (teacher * (log_t - log_s) - teacher + student).sum(-1).mean()
