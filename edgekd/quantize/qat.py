"""Quantization-aware training where it pays: the decision, and the way back when it does harm."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from torch import nn

from edgekd.errors import TrainingError

log = logging.getLogger("edgekd")

When = Literal["auto", "always", "never"]


@dataclass(frozen=True)
class Outcome:
    """The network to ship."""

    module: nn.Module
    calibrated: float
    """Accuracy on validation after calibration alone, in percent."""
    accuracy: float
    note: str
    """Why it was trained or not, in words."""


def train_where_needed(
    module: nn.Module,
    *,
    floating: float,
    when: When,
    tolerance: float,
    train: Callable[[nn.Module], object],
    score: Callable[[nn.Module], float],
) -> Outcome:
    """Train a copy of a calibrated network and keep whichever of the two has the higher accuracy.

    `floating` is the accuracy of the float network, `score` measures one on the same data, in percent. With `when`
    "auto" nothing is trained as long as calibration costs at most `tolerance` points. A training that breaks off
    because its loss is no longer a number counts as lost accuracy.
    """
    calibrated = score(module)
    lost = f"calibration alone costs {floating - calibrated:.2f} points"
    if when == "never" or (when == "auto" and floating - calibrated <= tolerance):
        return Outcome(module, calibrated, calibrated, f"{lost}: not trained")
    student = copy.deepcopy(module)
    try:
        train(student)
    except TrainingError as error:
        log.warning("quantization-aware training broke off, the calibrated network is kept: %s", error)
        return Outcome(module, calibrated, calibrated, f"{lost}; training broke off and was rolled back: {error}")
    trained = score(student)
    if trained < calibrated:
        log.warning("quantization-aware training lost accuracy, the calibrated network is kept")
        note = f"{lost}; training ended at {trained:.2f} % and was rolled back"
        return Outcome(module, calibrated, calibrated, note)
    return Outcome(student, calibrated, trained, f"{lost}; training won back {trained - calibrated:.2f}")
