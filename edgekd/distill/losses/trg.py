"""Which patches of a batch resemble which (TRG; Zhang et al. 2023, arXiv 2306.12442); experimental."""

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


class Trg(LastFeatures):
    """Neighbours in the graph of a batch's patches, patches across both networks, and patches within an image.

    The graph of all patches, matching each node's neighbours, a contrast of nodes across the networks and the
    similarities within an image are the paper's, which adds logit distillation: name logits-kl beside it. edgekd's own
    choices: the neighbours of a node are the teacher's k nearest; the contrast asks for the resemblance the teacher
    shows, so that the teacher's own features are the minimum; maps are averaged to `side` patches a side.
    """

    class Config(Loss.Config):
        """Options of the loss."""

        side: int = Field(default=2, ge=1, le=64, description="patches along each side of an image, at most")
        neighbours: int = Field(default=16, ge=1, le=65_536, description="k: edges of a node")
        temperature: float = Field(default=0.1, gt=0, le=100, description="of the similarities")
        across: float = Field(default=1.0, ge=0, le=1e6, description="weight of the contrast across the networks")
        within: float = Field(default=1.0, ge=0, le=1e6, description="weight of the similarities within an image")

    experimental: ClassVar[bool] = True

    config: Config

    def compare(self, student: Answer, teacher: Answer, labels: Tensor) -> Tensor:
        """Return the weighted sum of the three terms of the last features; labels are not looked at."""
        del labels
        config = self.config
        ours, theirs = self.last(student, teacher)
        ours, theirs = self._patches(ours), self._patches(theirs)
        nodes, taught = ours.flatten(0, 1), theirs.flatten(0, 1)
        across = diverging_similarities(nodes[None], taught[None], taught[None], config.temperature)
        within = (ours @ ours.transpose(1, 2) - theirs @ theirs.transpose(1, 2)).square().mean()
        return self._graph(nodes, taught) + config.across * across + config.within * within

    def _graph(self, ours: Tensor, theirs: Tensor) -> Tensor:
        """Return the mean over nodes of the divergence between the resemblances to the teacher's nearest k."""
        own = torch.eye(len(ours), dtype=torch.bool, device=ours.device)
        similar = (theirs @ theirs.T).masked_fill(own, -torch.inf)
        near = similar.topk(min(self.config.neighbours, max(1, len(ours) - 1)), 1).indices
        log_s, log_t = (
            F.log_softmax((nodes @ nodes.T).gather(1, near) / self.config.temperature, 1) for nodes in (ours, theirs)
        )
        return F.kl_div(log_s, log_t, reduction="batchmean", log_target=True)

    def _patches(self, features: Tensor) -> Tensor:
        """Return unit vectors (B, P, C) of maps (B, C, H, W) or tokens (B, T, C)."""
        if features.dim() == 4:
            size = (min(self.config.side, features.shape[2]), min(self.config.side, features.shape[3]))
            patches = F.adaptive_avg_pool2d(features, size).flatten(2).transpose(1, 2)
        else:
            most = min(self.config.side**2, features.shape[1])
            patches = F.adaptive_avg_pool1d(features.transpose(1, 2), most).transpose(1, 2)
        return F.normalize(patches, dim=2)
