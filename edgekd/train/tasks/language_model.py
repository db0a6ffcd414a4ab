"""The next token at every position of a text."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from edgekd.train.evaluate import accuracy
from edgekd.train.task import IGNORED, Task


class LanguageModel(Task):
    """Logits (B, T, K) and labels (B, T); a label of -100 does not count."""

    def rows(self, logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return one row a position that counts."""
        counts = labels.flatten() != IGNORED
        decided, right = logits.flatten(0, 1), labels.flatten()
        return (decided, right) if bool(counts.all()) else (decided[counts], right[counts])

    def figures(self, logits: NDArray[np.float32], labels: NDArray[np.int64]) -> dict[str, float]:
        """Return the share of tokens that are right, and the bits it takes to write one down."""
        counts = labels != IGNORED
        decided, right = logits[counts], labels[counts]
        largest = decided.max(-1, keepdims=True)
        total = np.log(np.exp(decided - largest).sum(-1)) + largest[:, 0]
        nats = float(np.mean(total - decided[np.arange(len(right)), right]))
        return {"accuracy_percent": accuracy(decided, right), "bits_per_token": nats / float(np.log(2))}

    def score(self, logits: NDArray[np.float32], labels: NDArray[np.int64]) -> float:
        """Return minus the bits per token: it sees progress long before another token becomes the likeliest."""
        return -self.figures(logits, labels)["bits_per_token"]
