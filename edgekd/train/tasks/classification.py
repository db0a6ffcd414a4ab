"""One class for each input: images, or texts, with one label each."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from edgekd.train.evaluate import accuracy
from edgekd.train.task import Task


class Classification(Task):
    """Logits (B, K) and labels (B,)."""

    def rows(self, logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return both as they are: an input is a decision."""
        return logits, labels

    def figures(self, logits: NDArray[np.float32], labels: NDArray[np.int64]) -> dict[str, float]:
        """Return the share of inputs that are right."""
        return {"accuracy_percent": accuracy(logits, labels)}
