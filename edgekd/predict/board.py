"""A board as its datasheet has it, with the speeds that no kernel exceeds, and what was measured on it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgekd.errors import EdgekdError, MeasurementError, UsageError
from edgekd.predict.work import TERMS

Array = NDArray[np.float64]

_LAUNCH_MS = 0.005
"""Of one kernel on a fast host; no datasheet has it, so a slower one counts as inefficiency."""


@dataclass(frozen=True)
class Board:
    """Peaks in the precision that is run; 1 TFLOPS is 0.5e12 multiplications a second."""

    name: str
    dense_tflops: float
    """Of the units that compute dense layers: the tensor cores where there are any."""
    vector_tflops: float
    """Of the units that compute everything else, depthwise convolutions among it."""
    bandwidth_gbs: float
    """Of the memory, in 1e9 bytes a second."""

    def __post_init__(self) -> None:
        for name in ("dense_tflops", "vector_tflops", "bandwidth_gbs"):
            value = getattr(self, name)
            if not (np.isfinite(value) and value > 0):
                raise UsageError(f"{name} of the board '{self.name}' is {value:g}; expected a positive number", name)

    def unit_ms(self) -> Array:
        """Return the milliseconds that one unit of each of `edgekd.predict.work.TERMS` takes at least, (8,)."""
        dense, vector = 2e-9 / self.dense_tflops, 2e-9 / self.vector_tflops
        byte = 1e-6 / self.bandwidth_gbs
        return np.array([dense, vector, byte, byte, byte, byte, byte, _LAUNCH_MS])


@dataclass(frozen=True)
class Measured:
    """Networks measured on a board: their work (m, 8), see `edgekd.predict.work`, and latencies (m,) in ms."""

    board: Board
    works: Array
    latencies_ms: Array

    def __post_init__(self) -> None:
        if self.works.shape != (len(self.latencies_ms), len(TERMS)):
            raise EdgekdError(
                f"{len(self.latencies_ms)} latencies on {self.board.name} and work of shape {self.works.shape}: "
                f"expected one row of {len(TERMS)} terms a latency"
            )
        if not (np.isfinite(self.latencies_ms).all() and (self.latencies_ms > 0).all()):
            raise MeasurementError(f"a latency on {self.board.name} is not a positive number; leave that network out")
