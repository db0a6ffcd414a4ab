"""The hard-concrete distribution: random masks in [0, 1] that are exactly 0 or 1 often, and can be trained.

Louizos, Welling and Kingma 2018, 'Learning Sparse Neural Networks through L0 Regularization' (arXiv 1712.01312), with
their constants. A mask z has one parameter log alpha: s = sigmoid((log u - log(1 - u) + log alpha) / beta) of a uniform
u, stretched to (gamma, zeta) and clamped to [0, 1].
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

BETA, GAMMA, ZETA = 2 / 3, -0.1, 1.1
_MIDPOINTS = 200
_OPEN = 1e-6
"""How far u stays from 0 and 1."""


def kept_probability(log_alpha: Tensor) -> Tensor:
    """Return P(z > 0) of each mask, the paper's closed form of its expected L0 norm; same shape."""
    return torch.sigmoid(log_alpha - BETA * math.log(-GAMMA / ZETA))


def sample(log_alpha: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Return masks drawn at random, of the same shape, with a gradient towards `log_alpha`."""
    drawn = torch.rand(log_alpha.shape, generator=generator, dtype=log_alpha.dtype).to(log_alpha.device)
    u = drawn.clamp(_OPEN, 1 - _OPEN)
    s = torch.sigmoid((u.log() - (1 - u).log() + log_alpha) / BETA)
    return (s * (ZETA - GAMMA) + GAMMA).clamp(0, 1)


def promised_zeros(log_alpha: Tensor) -> int:
    """Return how many of these masks are 0 on average, to the nearest whole number."""
    return round(float((1 - kept_probability(log_alpha.detach())).sum()))


def mean(log_alpha: Tensor) -> Tensor:
    """Return the mean of each mask, above 0 and below 1: the integral of P(z > t) over t from 0 to 1, by midpoints."""
    t = (torch.arange(_MIDPOINTS, dtype=log_alpha.dtype, device=log_alpha.device) + 0.5) / _MIDPOINTS
    above = torch.sigmoid(log_alpha[..., None] - BETA * ((t - GAMMA) / (ZETA - t)).log())
    return above.mean(-1)


def deterministic(log_alpha: Tensor, zeros: int) -> Tensor:
    """Return masks without chance (N,): 0 for the `zeros` smallest, of equals the last; in (0, 1] for the others.

    What is kept gets the mean of z. That is our choice: the clamped estimator of Louizos et al. may give another number
    of zeros than was promised.
    """
    found = mean(log_alpha.detach()).clamp_min(_OPEN)
    weakest = torch.argsort(log_alpha.detach(), descending=True, stable=True)[len(log_alpha) - zeros :]
    found[weakest] = 0
    return found
