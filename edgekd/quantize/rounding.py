"""Which way each weight is rounded, judged by what the layer answers instead of by the weight.

The objective is that of AdaRound (Nagel et al. 2020, "Up or Down? Adaptive Rounding for Post-Training Quantization",
https://arxiv.org/abs/2004.10568, equation 13): the squared error of a layer's output on calibration data, which is a
quadratic form of the weight's error. It is minimised one weight at a time, as in QuantEase (Behdin et al. 2023,
https://arxiv.org/abs/2309.01885), where AdaRound relaxes the choice and descends: no learning rate, no schedule.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgekd.placement.scheme import SMALLEST_STEP

Array = NDArray[np.float64]

DAMPING = 1e-3
"""Of the mean diagonal, added to it: directions that the calibration data do not show must not be for free."""
_SMALLEST, _FEW, _FEW_SMALLEST = 0.7, 7, 0.1
"""Smallest share of a weight's range that is tried; with few integers more has to be cut off."""
_CLOSE = 1e-12


def steps_that_cover(rows: Array, limit: int) -> Array:
    """Return the step of every row of (..., K) with which no weight is cut off, at most `limit` steps from zero."""
    steps = np.abs(rows).max(-1) / limit
    # A channel of (nearly) zero weights needs no fine steps, and its bias no 33rd bit.
    covering: Array = np.maximum(steps, max(float(steps.max()) / 1024, SMALLEST_STEP))
    return covering


def steps_that_fit(rows: Array, limit: int, importance: Array, spare: int = 0) -> Array:
    """Return the steps with the least rounding error of (O, K), each weight weighted by `importance` (K).

    Of (O, B, K), which are blocks of a channel, it is that of each block; `importance` is then (B, K).
    """
    full = steps_that_cover(rows, limit)
    errors, shares = [], np.linspace(1.0, _SMALLEST if limit > _FEW else _FEW_SMALLEST, 31)
    for share in shares:
        steps = full * share
        rounded = nearest(rows, steps, limit, spare) * steps[..., None]
        errors.append((np.square(rounded - rows) * importance).sum(-1))
    best: Array = full * shares[np.argmin(errors, axis=0)]
    return best


def nearest(rows: Array, steps: Array, limit: int, spare: int = 0) -> Array:
    """Return every weight of (..., K) as the nearest integer in [-limit - spare, limit]."""
    integers: Array = np.clip(np.round(rows / steps[..., None]), -limit - spare, limit)
    return integers


def adaptive(rows: Array, steps: Array, limit: int, gram: Array, *, spare: int = 0, sweeps: int = 4) -> Array:
    """Return integers (O, K) for which the layer's answers change least.

    `steps` are (O) or, of blocks of K / B inputs, (O, B). `gram` (K, K) is the mean of x x^T over patches of the
    layer's input, about their mean where the bias is corrected. Weights stay within one step of where they were. The
    error is never larger than that of `nearest`.
    """
    hessian = gram + np.eye(len(gram)) * DAMPING * max(float(np.trace(gram)) / len(gram), _CLOSE)
    steps = by_weight(steps, rows.shape[1])
    exact = rows / steps
    start = np.clip(np.round(exact), -limit - spare, limit)
    integers = start.copy()
    error = integers * steps - rows
    slope = error @ hessian
    low = np.clip(np.floor(exact), -limit - spare, limit)
    high = np.clip(np.ceil(exact), -limit - spare, limit)
    order = np.argsort(-np.diag(hessian), kind="stable")
    for _ in range(sweeps):
        moved = False
        for k in order:
            best = exact[:, k] + (error[:, k] - slope[:, k] / hessian[k, k]) / steps[:, k]
            wanted = np.clip(np.round(best), low[:, k], high[:, k])
            change = (wanted - integers[:, k]) * steps[:, k]
            if change.any():
                moved = True
                integers[:, k] = wanted
                error[:, k] += change
                slope += np.outer(change, hessian[k])
        if not moved:
            break
    return np.where(
        (lost(integers, steps, rows, hessian) <= lost(start, steps, rows, hessian))[:, None], integers, start
    )


def by_weight(steps: Array, inputs: int) -> Array:
    """Return steps (O) or (O, B), of equal blocks of a row, as one for each of its weights, (O, K)."""
    blocks = steps.reshape(len(steps), -1)
    return np.repeat(blocks, inputs // blocks.shape[1], axis=1)


def lost(integers: Array, steps: Array, rows: Array, gram: Array) -> Array:
    """Return the mean squared error of every row's output, (O,); steps as `adaptive` takes them."""
    error = integers * by_weight(steps, rows.shape[1]) - rows
    found: Array = ((error @ gram) * error).sum(-1)
    return found
