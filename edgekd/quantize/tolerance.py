"""How far the answers of a network in integers may be from the float network's, and how far they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekd.errors import UsageError
from edgekd.export.parity import relative_difference
from edgekd.measure.evaluate import graded
from edgekd.placement.place import Placement
from edgekd.quantize.calibration import Integers
from edgekd.quantize.layer import Array
from edgekd.quantize.onnx_network import NOTHING, OnnxNetwork


@dataclass(frozen=True)
class Distance:
    """How far answers are from the float network's."""

    error: float
    """Mean absolute difference, as a share of the range (largest - smallest) of the float network's answers."""
    accuracy_drop: float | None
    """Points that the float network is better by on the same samples; None without labels."""
    samples: int

    def text(self) -> str:
        """Return it as a clause."""
        drop = "" if self.accuracy_drop is None else f", {self.accuracy_drop:.2f} points of accuracy lost"
        return f"mean error {self.error:.3g} of the answers' range{drop}, n={self.samples}"


@dataclass(frozen=True)
class Tolerance:
    """A limit of accuracy, of error or of both, and what is judged by it.

    Raises UsageError for a limit of accuracy without labels.
    """

    samples: NDArray[Any]
    """(N, ...)"""
    labels: NDArray[np.integer] | None = None
    accuracy_drop: float | None = None
    """Points; see `Distance.accuracy_drop`."""
    max_error: float | None = None
    """See `Distance.error`."""

    def __post_init__(self) -> None:
        if self.accuracy_drop is not None and self.labels is None:
            raise UsageError(
                "a limit of accuracy needs labelled samples, and the data holds no 'labels'; add them, or give "
                "--max-error, which needs none"
            )

    def holds(self, found: Distance) -> bool:
        """Return whether answers so far away are within the limits."""
        within = self.max_error is None or found.error <= self.max_error
        return within and (self.accuracy_drop is None or (found.accuracy_drop or 0.0) <= self.accuracy_drop)


class Judge:
    """Holds placements of one calibrated network against the float network; raises what `graded` raises."""

    def __init__(self, network: OnnxNetwork, integers: Integers, tolerance: Tolerance) -> None:
        self._network, self._integers, self._tolerance = network, integers, tolerance
        self._expected = network.answers(NOTHING, None, tolerance.samples)

    def distance(self, plan: Placement) -> Distance:
        """Return how far a placement is."""
        found, labels = self._network.answers(plan, self._integers, self._tolerance.samples), self._tolerance.labels
        drop = None if labels is None else _right(self._expected, labels) - _right(found, labels)
        return Distance(mean_error(self._expected, found), drop, len(found))

    def accepts(self, plan: Placement) -> bool:
        """Return whether the limits hold; with everything in float they do."""
        return not plan.weights or self._tolerance.holds(self.distance(plan))


def mean_error(expected: Array, found: Array) -> float:
    """Return `Distance.error`."""
    return float(relative_difference(expected, found).mean())


def _right(answers: Array, labels: NDArray[np.integer]) -> float:
    return float(100 * graded(answers, labels, "the network").correct.mean())
