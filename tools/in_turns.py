"""Engines measured in turns, one sample a call, as the benchmarks of this folder do it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edgekd.budget import OperatingPoint
from edgekd.cli.progress import best_for_this_output
from edgekd.disk import scratch
from edgekd.measure.engine import Engine
from edgekd.measure.series import measure
from edgekd.profile import EngineRecord

_SAMPLES = 64
"""Run in rotation."""


def in_turns(engines: Sequence[Engine], samples: NDArray[np.generic], processes: int) -> tuple[EngineRecord, ...]:
    """Return the latencies of each engine at the median, in `processes` fresh ones; `samples` are (N, ...)."""
    with scratch("edgekd-bench") as folder:
        np.save(folder / "inputs.npy", samples[:_SAMPLES])
        series = measure(
            engines,
            folder / "inputs.npy",
            OperatingPoint(),
            50,
            processes=processes,
            raw=folder / "latency.jsonl",
            progress=best_for_this_output(),
            title="latency",
        )
    return tuple(series.records)
