"""Bounds that assume no distribution: order statistics over processes, and the paired difference of two accuracies.

The median over n processes lies above the k-th smallest value unless fewer than k of the n fall below it, which happens
with probability P(Binomial(n, 1/2) <= k - 1); with n = 11 and k = 2 (one process may exceed) that is 0.6 %
(David and Nagaraja, Order Statistics, 3rd edition, section 7.1).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import special

from edgekd.errors import MeasurementError

CONFIDENCE = 0.99
"""Of each latency bound, one-sided: a wrong `met` at most once in a hundred verdicts, and a wrong `missed` likewise."""
UNSPENT_PROCESSES = 4.5
"""How many processes' share of the risk is kept for later looks: 4.5 / n of it once n processes were judged."""


class Bounds(NamedTuple):
    """A value and its one-sided confidence bounds; None where the samples are too few for a bound."""

    value: float
    lower: float | None
    upper: float | None
    confidence: float | None


def samples_needed(percentile: float, confidence: float = CONFIDENCE) -> int:
    """Return how many samples an upper bound on a percentile needs when one of them may exceed it.

    The smallest n with P(Binomial(n, 1 - percentile/100) <= 1) <= 1 - confidence. The values for p90 and p99 are those
    of the MLPerf LoadGen's early stopping (Reddi et al. 2020, MLPerf Inference Benchmark).
    """
    below = percentile / 100
    high = 2
    while _exceeded_at_most_once(high, below) > 1 - confidence:
        high *= 2
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if _exceeded_at_most_once(middle, below) <= 1 - confidence else (middle, high)
    return high


def _exceeded_at_most_once(samples: int, below: float) -> float:
    return math.exp(samples * math.log(below)) * (1 + samples * (1 - below) / below)


def percentile_of(values: Sequence[float], percentile: float) -> float:
    """Return the median-unbiased percentile of one process's runs (Hyndman and Fan 1996, type 8).

    The bounds over processes are a sign test: it holds when one process's value is as often above the true percentile
    as below it. Nearest rank is not: its p90 of 100 runs is too low in 58 processes of 100.
    Raises MeasurementError when the runs are too few for that percentile to mean anything.
    """
    needed = samples_needed(percentile)
    if len(values) < needed:
        raise MeasurementError(f"p{percentile:g} of {len(values)} runs means nothing; it needs at least {needed}")
    return float(percentiles_of(np.asarray(values, float), percentile))


def percentiles_of(runs: NDArray[np.float64], percentile: float) -> NDArray[np.float64]:
    """Return the median-unbiased percentile over the last axis, of (..., runs) of many processes at once."""
    return np.asarray(np.quantile(runs, percentile / 100, axis=-1, method="median_unbiased"))


def median_bounds(values: Sequence[float], looks: Sequence[int] = (), confidence: float = CONFIDENCE) -> Bounds:
    """Return the median over processes with distribution-free bounds.

    `looks` are the numbers of processes at which the data were judged so far, the last being all of them: whoever looks
    twice must share the risk between the looks, else extending until it fits is a wrong `met`. Without looks this is
    the only look there will ever be. The confidence returned is what holds over all looks together.
    """
    ordered = np.sort(np.asarray(values, float))
    rank, spent = bound_rank(tuple(looks) or (len(ordered),), confidence, last=not looks)
    middle = float(np.median(ordered))
    if rank == 0:
        return Bounds(middle, None, None, None)
    return Bounds(middle, float(ordered[rank - 1]), float(ordered[-rank]), 1 - spent)


@lru_cache(maxsize=4096)
def bound_rank(looks: tuple[int, ...], confidence: float = CONFIDENCE, last: bool = False) -> tuple[int, float]:
    """Return which smallest and largest value bound the median at the last of these looks, and the risk spent so far.

    The risk 1 - confidence is shared by a union bound: of it, a share of 1 - 4.5 / processes may be spent by a look
    at that many processes (a spending function as in Lan and DeMets 1983, without a planned end), all of it where the
    look is known to be the `last`. So nothing depends on looks yet to come, no look takes it all, and the first at 11
    processes can afford its one exception (tools/study_looks.py compares). Rank 0: too few processes for a bound.
    """
    rank, spent = 0, 0.0
    for count in looks:
        share = 1.0 if last else 1 - UNSPENT_PROCESSES / count
        rank, risk = _rank(count, (1 - confidence) * share - spent)
        spent += risk
    return rank, spent


def _rank(count: int, allowed: float) -> tuple[int, float]:
    """Return the largest rank k whose risk P(Binomial(count, 1/2) <= k - 1) is allowed, and that risk; 0 for none."""
    risks = special.bdtr(np.arange(count // 2 + 1), count, 0.5)
    rank = int(np.searchsorted(risks, allowed * (1 + 1e-12), side="right"))
    return rank, float(risks[rank - 1]) if rank else 0.0


def ratio_bounds(
    values: Sequence[float], references: Sequence[float], looks: Sequence[int] = (), confidence: float = CONFIDENCE
) -> Bounds:
    """Return the median of value / reference over processes that ran interleaved in pairs, with its bounds."""
    if len(values) != len(references):
        raise MeasurementError(f"paired ratios need pairs; there are {len(values)} and {len(references)} processes")
    return median_bounds(np.asarray(values, float) / np.asarray(references, float), looks, confidence)


def accuracy_bounds(correct: np.ndarray, confidence: float = 0.95) -> Bounds:
    """Return an accuracy in percent with exact bounds (Clopper and Pearson 1934); `correct` is (N,) of truth values."""
    right, total = int(np.count_nonzero(correct)), len(correct)
    lower = special.betaincinv(right, total - right + 1, 1 - confidence) if right else 0.0
    upper = special.betaincinv(right + 1, total - right, confidence) if right < total else 1.0
    return Bounds(100 * right / total, 100 * float(lower), 100 * float(upper), confidence)


def drop_bounds(correct: np.ndarray, reference: np.ndarray, confidence: float = 0.95) -> Bounds:
    """Return how many points of accuracy are lost against a reference that saw the same inputs, with paired bounds.

    Both are (N,) truth values. The value is the plain difference; the bounds are Wald's after adding one half to each
    of the four cells (Agresti and Min 2005, Simple improved confidence intervals for comparing matched proportions).
    """
    if len(correct) != len(reference):
        raise MeasurementError(f"a paired drop needs the same inputs; {len(correct)} and {len(reference)} were given")
    correct, reference = np.asarray(correct, bool), np.asarray(reference, bool)
    lost = np.count_nonzero(reference & ~correct) + 0.5
    won = np.count_nonzero(correct & ~reference) + 0.5
    total = len(correct) + 2
    centre = (lost - won) / total
    spread = special.ndtri(confidence) * math.sqrt(lost + won - (lost - won) ** 2 / total) / total
    value = 100 * (np.count_nonzero(reference) - np.count_nonzero(correct)) / len(correct)
    return Bounds(float(value), 100 * float(centre - spread), 100 * float(centre + spread), confidence)
