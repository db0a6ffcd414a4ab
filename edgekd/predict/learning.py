"""Learns the costs of a runtime's kernels from probes, and how far their sums are off on probes not seen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import optimize

from edgekd.errors import EdgekdError
from edgekd.kernel import Fit, Probe
from edgekd.predict.costs import Costs
from edgekd.predict.relevance import Relevance

Array = NDArray[np.float64]

CONFIDENCE = 0.9
_FOLDS = 5
_LEAST_PROBES = 20


class LeftOut(NamedTuple):
    """Predictions of probes by costs that were learned without them."""

    measured_ms: Array
    predicted_ms: Array
    own: Array
    """Relative deviation that the kernels' deviations add up to."""


def learned(probes: Sequence[Probe], costs: Costs | None = None) -> Fit:
    """Return the fit of one runtime's probes, of which `costs` were learned; raises EdgekdError for fewer than 20."""
    if len(probes) < _LEAST_PROBES:
        raise EdgekdError(f"{len(probes)} probes teach nothing about kernels, at least {_LEAST_PROBES} are needed")
    relevances = (costs or Costs(probes)).relevances
    seen = left_out(probes, relevances)
    errors = np.log(seen.measured_ms / seen.predicted_ms)
    common, own = _deviations(errors, seen.own)
    surprises = np.abs(errors) / np.hypot(common, own * seen.own)
    rank = min(int(np.ceil(CONFIDENCE * (len(errors) + 1))), len(errors))
    return Fit(
        relevance={code: tuple(relevance.vector()) for code, relevance in relevances.items()},
        common=common,
        own=own,
        reach=float(np.sort(surprises)[rank - 1]),
        error=float(np.median(np.abs(errors))),
    )


def left_out(probes: Sequence[Probe], relevances: dict[str, Relevance]) -> LeftOut:
    """Return what is predicted of every probe from those of other networks; all forms of a network are in one fold."""
    fold = {name: number % _FOLDS for number, name in enumerate(dict.fromkeys(probe.name for probe in probes))}
    predicted, own = np.zeros(len(probes)), np.zeros(len(probes))
    for number in range(_FOLDS):
        costs = Costs([probe for probe in probes if fold[probe.name] != number], relevances)
        rows = [row for row, probe in enumerate(probes) if fold[probe.name] == number]
        networks = [[timed.kernel for timed in probes[row].kernels] for row in rows]
        predicted[rows], own[rows] = costs.networks_ms(networks)
    return LeftOut(np.array([probe.ms for probe in probes]), predicted, own)


def _deviations(errors: Array, own: Array) -> tuple[float, float]:
    """Return the common deviation and the factor on the kernels' own, by the likelihood of Student's t errors."""

    def unlikely(log: Array) -> float:
        spread = np.hypot(np.exp(log[0]), np.exp(log[1]) * own)
        return float((np.log(spread) + 2.5 * np.log1p((errors / spread) ** 2 / 4)).sum() + 0.5 * (log[1] ** 2))

    found = optimize.minimize(unlikely, np.array([-3.0, -0.3]), method="Nelder-Mead")
    return float(np.exp(found.x[0])), float(np.exp(found.x[1]))
