"""Proves that an engine computes what its network computes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgekd.schema import Field, Schema

Logits = NDArray[np.float32]


class Limits(Schema):
    """How far an engine may be from its network; errors are shares of the range of the network's own logits."""

    float_error: float = Field(
        default=1e-3,
        gt=0,
        le=1000,
        description="largest error of a float engine; measured ones stay below 1e-5, a wrong operator exceeds 1e-2",
    )
    integer_mean_error: float = Field(
        default=0.01,
        gt=0,
        le=1000,
        description="mean error of an int8 engine; half an 8-bit step of the logits is 0.002, and few layers add to it",
    )
    integer_error: float = Field(
        default=0.05,
        gt=0,
        le=1000,
        description="largest error of an int8 engine; rounding reached 0.02, saturated sums of products 0.03 to 0.15",
    )
    integer_agreement_percent: float = Field(
        default=98,
        ge=0,
        le=100,
        description="inputs with the same best class; one input is always allowed to differ, being possibly a tie",
    )


@dataclass(frozen=True)
class Parity:
    """What an engine's logits (N, K) differ from its network's by."""

    error: float
    """Largest absolute difference, as a share of the range of the network's logits."""
    mean_error: float
    agreement_percent: float
    samples: int
    faults: tuple[str, ...]
    """One clause for each limit that is exceeded; none when the engine is right."""


def compare(reference: Logits, outputs: Logits, limits: Limits, *, rounded: bool) -> Parity:
    """Hold an engine's logits (N, K) against those of its network; `rounded` ones compute in fewer bits than it."""
    if outputs.shape != reference.shape:
        fault = f"its output has the shape {outputs.shape}, the network's {reference.shape}"
        return Parity(float("inf"), float("inf"), 0.0, len(reference), (fault,))
    if not np.isfinite(outputs).all():
        return Parity(float("inf"), float("inf"), 0.0, len(reference), ("it returns NaN or infinity",))
    difference = relative_difference(reference, outputs)
    error, mean_error = float(difference.max()), float(difference.mean())
    same = int((outputs.argmax(1) == reference.argmax(1)).sum())
    agreement = 100 * same / len(reference)
    faults = []
    if not rounded and error > limits.float_error:
        faults.append(_exceeds("largest error", error, limits.float_error))
    if rounded and error > limits.integer_error:
        faults.append(_exceeds("largest error", error, limits.integer_error))
    if rounded and mean_error > limits.integer_mean_error:
        faults.append(_exceeds("mean error", mean_error, limits.integer_mean_error))
    if rounded and agreement < limits.integer_agreement_percent and same < len(reference) - 1:
        faults.append(
            f"its best class agrees on {agreement:.1f} %, required are {limits.integer_agreement_percent:g} %"
        )
    return Parity(error, mean_error, agreement, len(reference), tuple(faults))


def relative_difference(reference: NDArray[np.float32], values: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return |values - reference| as a share of the range of `reference` (of its magnitude where it is constant)."""
    spread = float(np.ptp(reference)) or float(np.abs(reference).max()) or 1.0
    difference: NDArray[np.float64] = np.abs(values.astype(np.float64) - reference) / spread
    return difference


def _exceeds(what: str, value: float, limit: float) -> str:
    return f"its {what} is {value:.2g} of the logits' range, allowed is {limit:g}"
