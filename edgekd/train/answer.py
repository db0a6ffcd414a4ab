"""What a network says about a batch: its logits and, where something looks inside, what its layers gave."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from torch import Tensor


@dataclass(frozen=True)
class Answer:
    """Logits of a batch and what was tapped on the way to them, each tuple in the order of the layer pairs."""

    logits: Tensor
    """(B, K) of a classifier, (B, T, K) of a network that decides at every position, (N, K) as rows of decisions."""
    features: tuple[Tensor, ...] = ()
    """Maps (B, C, H, W) or tokens (B, T, D)."""
    attention: tuple[Tensor, ...] = ()
    """Attention probabilities (B, heads, T, T)."""
    embedding: Tensor | None = None
    """(B, D): what the classifying layer is given."""

    def each(self, change: Callable[[Tensor], Tensor]) -> Answer:
        """Return the answer with every tensor changed."""
        return replace(
            self,
            logits=change(self.logits),
            features=tuple(change(tensor) for tensor in self.features),
            attention=tuple(change(tensor) for tensor in self.attention),
            embedding=None if self.embedding is None else change(self.embedding),
        )
