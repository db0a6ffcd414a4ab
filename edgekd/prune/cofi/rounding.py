"""From trained masks to what stays: as many zeros as promised, and the asked sparsity to the last unit."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from edgekd.prune.cofi import hard_concrete
from edgekd.prune.cofi.plan import LAYERS, Plan, Values
from edgekd.prune.cofi.sparsity import Parameters

_FURTHEST, _HALVINGS = 40.0, 40


def rounded(plan: Plan, counted: Parameters, log_alpha: Values, sparsity: float) -> dict[str, Tensor]:
    """Return masks without chance, at the sparsity nearest to the asked one.

    Every set of masks has as many zeros as it promises. That leaves the network near the asked sparsity; the rest is
    our choice: log alpha of all units and hidden dimensions is moved by one number, then that of units by another, so
    that the number of their zeros follows; only where too much is gone with heads and whole layers a layer comes back.
    What is kept has the value it had.
    """
    promised = hard_concrete.promised_zeros(log_alpha[LAYERS])
    for zeros in range(min(promised, len(plan.layers) - 1), -1, -1):
        layers = hard_concrete.deterministic(log_alpha[LAYERS], zeros)
        found = _nearest(plan, counted, log_alpha, layers, sparsity)
        if found is not None:
            return found
    layers = hard_concrete.deterministic(log_alpha[LAYERS], 0)
    return _at(plan, log_alpha, layers, _FURTHEST, _FURTHEST)


def _nearest(
    plan: Plan, counted: Parameters, log_alpha: Values, layers: Tensor, sparsity: float
) -> dict[str, Tensor] | None:
    """Return the masks nearest to a sparsity with these layers; None where too much is gone with them already."""

    def reached(hidden: float, units: float) -> float:
        found = _at(plan, log_alpha, layers, hidden, units)
        return float(counted.sparsity({name: (own > 0).float() for name, own in found.items()}))

    if reached(_FURTHEST, _FURTHEST) > sparsity:
        return None
    together = _between(lambda shift: reached(shift, shift), sparsity)
    # A hidden dimension goes in all layers at once, so units alone come nearer once it is settled how many of those go.
    tried = [(hidden, units) for hidden in together for units in _between(partial(reached, hidden), sparsity)]
    best = min([(0.0, 0.0), *tried], key=lambda shifts: abs(reached(*shifts) - sparsity))
    return _at(plan, log_alpha, layers, *best)


def _between(reached: Callable[[float], float], sparsity: float) -> tuple[float, float]:
    """Return two shifts next to each other, that of the sparser network first."""
    low, high = -_FURTHEST, _FURTHEST  # the sparsity falls with the shift
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if reached(middle) >= sparsity else (low, middle)
    return low, high


def _at(plan: Plan, log_alpha: Values, layers: Tensor, hidden: float, units: float) -> dict[str, Tensor]:
    shifts = {layer.group: 0.0 if layer.kind == "attention" else units for layer in plan.layers}
    shifts |= dict.fromkeys(plan.hidden, hidden)
    found = {LAYERS: layers}
    for name, shift in shifts.items():
        own = log_alpha[name].detach()
        zeros = hard_concrete.promised_zeros(own + shift)
        found[name] = hard_concrete.deterministic(own, min(zeros, len(own) - 1))
    return found


def opened(values: Tensor) -> tuple[int, ...]:
    """Return the positions of the masks that are not 0."""
    return tuple(torch.nonzero(values > 0).flatten().tolist())
