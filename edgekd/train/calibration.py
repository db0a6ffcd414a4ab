"""Whether a network is as sure as it is right: expected calibration error, its adaptive form, and Brier's score."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

BINS = 15
"""Of equal width over the confidence, as in Guo et al. 2017, On calibration of modern neural networks."""


class Calibration(NamedTuple):
    """Three measures, each 0 at best."""

    ece: float
    """Mean over bins of equal width, by their share of the inputs, of |accuracy - mean confidence|."""
    adaptive_ece: float
    """The same over bins of equal count (Nguyen and O'Connor 2015), so that no bin is nearly empty."""
    brier: float
    """Mean squared distance of the probabilities from the truth, 0 to 2 (Brier 1950)."""


def calibration(logits: NDArray[np.floating], labels: NDArray[np.int64]) -> Calibration:
    """Return how well logits (N, classes) are calibrated against labels (N,)."""
    p = probabilities(logits)
    confidence, correct = p.max(1), p.argmax(1) == labels
    return Calibration(
        ece=mean_gap(correct - confidence, confidence_bins(confidence)),
        adaptive_ece=adaptive_ece(correct, confidence),
        brier=float(brier_scores(p, labels).mean()),
    )


def ece(logits: NDArray[np.floating], labels: NDArray[np.int64]) -> float:
    """Return the expected calibration error, 0 to 1, of logits (N, classes) against labels (N,)."""
    return calibration(logits, labels).ece


def adaptive_ece(correct: NDArray[np.bool_], confidence: NDArray[np.float64]) -> float:
    """Return the calibration error over bins of equal count, of answers (N,) and the confidence in each."""
    gap = (correct - confidence)[np.argsort(confidence, kind="stable")]
    return mean_gap(gap, np.arange(len(gap)) * BINS // len(gap))


def brier_scores(p: NDArray[np.float64], labels: NDArray[np.integer]) -> NDArray[np.float64]:
    """Return the squared distance (N,) of each row of probabilities (N, classes) from its label."""
    found: NDArray[np.float64] = (p**2).sum(1) - 2 * p[np.arange(len(labels)), labels] + 1
    return found


def probabilities(logits: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the softmax (N, classes) of logits."""
    shifted = np.exp(np.asarray(logits, np.float64) - np.max(logits, -1, keepdims=True))
    found: NDArray[np.float64] = shifted / shifted.sum(-1, keepdims=True)
    return found


def confidence_bins(confidence: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the bin of equal width, (N,), each confidence falls into."""
    return np.minimum((confidence * BINS).astype(np.int64), BINS - 1)


def mean_gap(gap: NDArray[np.floating], bins: NDArray[np.int64]) -> float:
    """Return the error from each input's (correct - confidence) and its bin; sums over bins need no weights."""
    return float(np.abs(np.bincount(bins, gap, BINS)).sum() / len(gap))
