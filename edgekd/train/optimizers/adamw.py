"""Adam with decoupled weight decay (Loshchilov and Hutter 2019, arXiv 1711.05101)."""

from __future__ import annotations

from typing import Any

import torch

from edgekd.schema import Field, Schema
from edgekd.train.optimizer import LoopConfig, Optimizer


class AdamW(Optimizer):
    """torch.optim.AdamW; the first beta is the momentum of the training."""

    class Config(Schema):
        """Options of the optimizer."""

        beta2: float = Field(default=0.999, ge=0, lt=1, description="decay of the squared gradient's average")

    config: Config

    def build(self, groups: list[dict[str, Any]], loop: LoopConfig) -> torch.optim.Optimizer:
        """Return the optimizer."""
        return torch.optim.AdamW(groups, lr=loop.learning_rate, betas=(loop.momentum, self.config.beta2))
