"""Logits over the candidates of every decision, drawn from by Gumbel-softmax and moved by Adam."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

_DRAWN = 2
"""K of the paper: widths that are mixed in one pass."""
_BETAS, _EPSILON = (0.9, 0.999), 1e-8


class Mixture(NamedTuple):
    """What takes part in one pass, and with which weight."""

    positions: tuple[int, ...]
    weights: Tensor
    """(positions,), their sum is 1."""


class Decisions(nn.Module):
    """One logit for each candidate of each decision.

    They are buffers, as is all that Adam remembers: the training of the weights leaves them alone, and a checkpoint of
    it holds them.
    """

    logits: Tensor
    mean: Tensor
    square: Tensor
    moved: Tensor
    temperature: Tensor
    costs: Tensor
    """Expected milliseconds at the end of each epoch, (epochs,)."""

    def __init__(self, sizes: Sequence[int], temperature: float, epochs: int) -> None:
        super().__init__()
        self._sizes = list(sizes)
        for name in ("logits", "mean", "square"):
            self.register_buffer(name, torch.zeros(sum(sizes)))
        self.register_buffer("moved", torch.zeros(()))
        self.register_buffer("temperature", torch.tensor(temperature))
        self.register_buffer("costs", torch.zeros(epochs))

    def split(self, logits: Tensor | None = None) -> list[Tensor]:
        """Return the logits of each decision; those held, where no others are given."""
        return list(torch.split(self.logits if logits is None else logits, self._sizes))

    def probabilities(self, logits: Tensor | None = None) -> list[Tensor]:
        """Return the probabilities of the candidates of each decision."""
        return [own.softmax(0) for own in self.split(logits)]

    def likeliest(self) -> tuple[int, ...]:
        """Return the position of the largest logit of each decision, the first of equals."""
        return tuple(int(own.argmax()) for own in self.split())

    def pair(self, logits: Tensor) -> Mixture:
        """Return two candidates of one decision, drawn without replacement; in eval mode the two likeliest."""
        perturbed = self._perturbed(logits)
        count = min(_DRAWN, len(logits))
        drawn = torch.multinomial(perturbed.detach().softmax(0), count) if self.training else perturbed.topk(count)[1]
        return Mixture(tuple(drawn.tolist()), perturbed[drawn].softmax(0))

    def every(self, logits: Tensor) -> Mixture:
        """Return all candidates of one decision; in eval mode without noise."""
        return Mixture(tuple(range(len(logits))), self._perturbed(logits).softmax(0))

    def move(self, gradient: Tensor, learning_rate: float) -> None:
        """Move the logits one step of Adam (Kingma and Ba 2015)."""
        self.moved += 1
        self.mean.lerp_(gradient, 1 - _BETAS[0])
        self.square.lerp_(gradient.square(), 1 - _BETAS[1])
        mean, square = self.mean / (1 - _BETAS[0] ** self.moved), self.square / (1 - _BETAS[1] ** self.moved)
        self.logits -= learning_rate * mean / (square.sqrt() + _EPSILON)

    def _perturbed(self, logits: Tensor) -> Tensor:
        noise = -torch.empty_like(logits).exponential_().log() if self.training else torch.zeros_like(logits)
        return (logits.log_softmax(0) + noise) / self.temperature
