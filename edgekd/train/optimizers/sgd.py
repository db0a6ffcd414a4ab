"""Stochastic gradient descent with Nesterov's momentum."""

from __future__ import annotations

from typing import Any

import torch

from edgekd.train.optimizer import LoopConfig, Optimizer


class Sgd(Optimizer):
    """torch.optim.SGD; momentum is that of the training."""

    def build(self, groups: list[dict[str, Any]], loop: LoopConfig) -> torch.optim.Optimizer:
        """Return the optimizer; without momentum there is nothing for Nesterov to look ahead with."""
        return torch.optim.SGD(groups, lr=loop.learning_rate, momentum=loop.momentum, nesterov=loop.momentum > 0)
