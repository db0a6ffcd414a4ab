"""Distances and angles between the samples of a batch (RKD; Park et al. 2019, arXiv 1904.05068); experimental."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from edgekd.distill.layer_map import Kind
from edgekd.distill.loss import Loss
from edgekd.schema import Field
from edgekd.train.answer import Answer


class Rkd(Loss):
    """distance * Huber of relative distances + angle * Huber of the cosines of all triples, of the embeddings.

    Both relations, their normalisation and Huber's loss are the paper's; the weights 25 and 50 are those of its public
    code. No widths have to agree. Where a teacher's embeddings all fall together nothing is to be learned: 0.
    """

    class Config(Loss.Config):
        """Options of the loss."""

        distance: float = Field(default=25.0, ge=0, le=1e6, description="weight of the pairwise distances")
        angle: float = Field(default=50.0, ge=0, le=1e6, description="weight of the angles of triples")

    mean_of_samples: ClassVar[bool] = False  # it compares samples with each other

    experimental: ClassVar[bool] = True

    config: Config

    @property
    def needs(self) -> frozenset[Kind]:
        """Return the embedding."""
        return frozenset({"embedding"})

    def compare(self, student: Answer, teacher: Answer, labels: Tensor) -> Tensor:
        """Return the weighted sum; labels are not looked at."""
        del labels
        if student.embedding is None or teacher.embedding is None:
            raise TypeError("rkd compares embeddings, and none was given")
        ours, theirs = student.embedding, teacher.embedding
        distance = F.smooth_l1_loss(_distances(ours), _distances(theirs))
        angle = F.smooth_l1_loss(_cosines(ours), _cosines(theirs))
        return self.config.distance * distance + self.config.angle * angle


def _distances(embedding: Tensor) -> Tensor:
    """Return all pairwise distances (B, B) in units of their mean."""
    squared = (embedding[:, None] - embedding[None]).square().sum(-1)
    apart = squared > 1e-12
    distances = torch.where(apart, torch.where(apart, squared, 1).sqrt(), 0)  # the root's slope at 0 is infinite
    return distances / (distances.sum() / apart.sum().clamp_min(1)).clamp_min(1e-12)


def _cosines(embedding: Tensor) -> Tensor:
    """Return the cosine (B, B, B) of the angle at i between j and k."""
    towards = F.normalize(embedding[None] - embedding[:, None], dim=2)
    return towards @ towards.transpose(1, 2)
