"""A new device's latencies from a handful of measured networks, with the devices that are known already as prior.

Every device slows some operators more than others, but devices come in families. The prior therefore says: the new
device's logarithmic latencies are those of one known device (nobody knows which), or of their mean, stretched a little,
plus a share of how the others differ from it, plus something smooth in the structure of the networks. Each of these
hypotheses is a Gaussian process with a fixed covariance; they are averaged by how well each predicts measured networks
it was not shown (Hoeting et al. 1999, Bayesian model averaging; left-out instead of marginal likelihood as in Yao et
al. 2018, Using stacking to average Bayesian predictive distributions). Hypotheses and constants are our choice, made on
the devices of NAS-Bench-201, each left out in turn.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import special

from edgekd.errors import EdgekdError
from edgekd.predict.gaussian_process import Prediction

Array = NDArray[np.float64]

_ROUNDS = 4


class Prior(NamedTuple):
    """Variances of the logarithm of a latency, by where they come from."""

    offset: float = 4.0
    """How fast the new device is as a whole: hardly anything is known."""
    stretch: float = 0.02
    """How much more or less it differs between networks than the device it resembles."""
    others: float = 0.005
    """What it has of each other device's difference from that one."""
    mean_stretch: float = 0.2
    mean_others: float = 4.0
    """The same where it resembles no single device but their mean; shared between all of them."""
    structure: float = 0.01
    noise: float = 0.005
    degrees_of_freedom: float = 3.0
    """Of Student's t, by which a measured network that fits nothing is weighted down."""
    sharpness: float = 2.0
    """To which power the likelihood of a hypothesis counts."""


def transfer(
    known_ms: Array, structure: Array, measured: Sequence[int], latencies_ms: Array, prior: Prior | None = None
) -> Prediction:
    """Return mean and deviation, (n,) each, of the logarithm of the latency in ms of n networks on a new device.

    `known_ms` (n, d) > 0 are the latencies of the same networks on d known devices, measured or predicted; `structure`
    (n, k) their standardised features; `measured` names the m >= 2 rows whose `latencies_ms` (m,) were taken on the new
    one. Raises EdgekdError when a latency is not positive or the numbers of rows differ.
    """
    prior = prior or Prior()
    rows, values = np.asarray(measured, np.intp), np.asarray(latencies_ms, np.float64)
    _check(known_ms, structure, rows, values)
    logs = _centred(known_ms)
    smooth = _similarity(structure, structure[rows])
    found = [_posterior(*each, smooth, rows, np.log(values), prior) for each in _hypotheses(logs, prior)]
    evidence = prior.sharpness * np.array([likelihood for _, likelihood in found])
    weights = np.exp(evidence - evidence.max())
    weights /= weights.sum()
    means = np.stack([prediction.mean for prediction, _ in found])
    variances = np.stack([prediction.deviation**2 for prediction, _ in found])
    mean = weights @ means
    return Prediction(mean, np.sqrt(weights @ (variances + (means - mean) ** 2)))


def most_telling(
    known_ms: Array, structure: Array, candidates: Sequence[int], count: int, prior: Prior | None = None
) -> list[int]:
    """Return which `count` of the candidate rows to measure on a new device, the most telling first.

    Each lowers the summed variance of all candidates most, given those before it (active learning of Cohn 1996, Neural
    network exploration using optimal experiment design); nothing needs to have been measured on the new device.
    """
    prior = prior or Prior()
    rows = np.asarray(candidates, np.intp)
    logs = _centred(known_ms)
    _, factor = next(_hypotheses(logs, prior))
    covariance = factor[rows] @ factor[rows].T + prior.structure * _similarity(structure[rows], structure[rows])
    covariance += prior.offset
    chosen: list[int] = []
    for _ in range(min(count, len(rows))):
        gains = (covariance**2).sum(axis=0) / (np.diag(covariance) + prior.noise)
        gains[chosen] = -1
        best = int(gains.argmax())
        chosen.append(best)
        taken = covariance[:, best]
        covariance = covariance - np.outer(taken, taken) / (covariance[best, best] + prior.noise)
    return [int(rows[position]) for position in chosen]


def _hypotheses(logs: Array, prior: Prior) -> Iterator[tuple[Array, Array]]:
    """Yield, of each, the expected shape (n,) and a factor (n, r) of the covariance; that of the mean comes first."""
    mean, count = logs.mean(axis=1), logs.shape[1]
    differences = (logs - mean[:, None]) * np.sqrt(prior.mean_others / count)
    yield mean, np.column_stack([differences, mean * np.sqrt(prior.mean_stretch)])
    for own in logs.T:
        differences = (logs - own[:, None]) * np.sqrt(prior.others)
        yield own, np.column_stack([differences, own * np.sqrt(prior.stretch)])


def _posterior(  # noqa: PLR0917
    mean: Array, factor: Array, smooth: Array, rows: NDArray[np.intp], targets: Array, prior: Prior
) -> tuple[Prediction, float]:
    """Return the prediction of one hypothesis and the logarithm of its left-out likelihood."""
    across = factor @ factor[rows].T + prior.structure * smooth + prior.offset
    middle = float(np.median(targets - mean[rows]))
    residuals = targets - mean[rows] - middle
    weights = np.ones(len(rows))
    freedom = prior.degrees_of_freedom
    for _ in range(_ROUNDS):
        inverse = np.linalg.inv(across[rows] + np.diag(prior.noise / weights))
        solved = inverse @ residuals
        surprise = solved / np.sqrt(np.diag(inverse))  # what is missed when left out, in its standard deviations
        weights = (freedom + 1) / (freedom + surprise**2)
    likelihood = _log_density_of_t(surprise, freedom + 1).sum() + 0.5 * np.log(np.diag(inverse)).sum()
    before = (factor**2).sum(axis=1) + prior.structure + prior.offset
    variance = np.maximum(before - np.einsum("ij,jk,ik->i", across, inverse, across), 0) + prior.noise
    return Prediction(mean + middle + across @ solved, np.sqrt(variance)), float(likelihood)


def _log_density_of_t(values: Array, freedom: float) -> Array:
    """Return the logarithm of Student's density; `scipy.stats` has it too, and takes a second to import."""
    constant = special.gammaln((freedom + 1) / 2) - special.gammaln(freedom / 2) - 0.5 * np.log(freedom * np.pi)
    return np.asarray(constant - (freedom + 1) / 2 * np.log1p(values**2 / freedom), dtype=np.float64)


def _centred(known_ms: Array) -> Array:
    logs = np.log(known_ms)
    return np.asarray(logs - logs.mean(axis=0), dtype=np.float64)


def _similarity(one: Array, other: Array) -> Array:
    distances = (one**2).sum(axis=1)[:, None] + (other**2).sum(axis=1)[None] - 2 * one @ other.T
    return np.asarray(np.exp(-np.maximum(distances, 0)), dtype=np.float64)


def _check(known_ms: Array, structure: Array, rows: NDArray[np.intp], values: Array) -> None:
    if len(known_ms) != len(structure) or len(rows) != len(values) or len(rows) < 2:
        raise EdgekdError(
            f"{len(known_ms)} networks on known devices and the structure of {len(structure)}, {len(rows)} of them "
            f"measured with {len(values)} latencies: the first two must be equal, so must the others, 2 or more"
        )
    if not (known_ms > 0).all() or not (values > 0).all():
        raise EdgekdError("latencies must be positive; a network nobody measured must be left out")
