"""Where the scatter of a latency comes from: runs within a process, processes, builds of the engine."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgekd.errors import MeasurementError


class Scatter(NamedTuple):
    """Coefficients of variation: standard deviation of each level by itself, divided by the mean over everything."""

    run: float
    process: float
    build: float | None
    """None where there was one build: its scatter is then part of every value and cannot be seen."""


def scatter(runs: Sequence[Sequence[float]], builds: Sequence[Hashable] | None = None) -> Scatter:
    """Return the variance components of a nested design, runs in processes in builds, as coefficients of variation.

    `runs` holds the times of each process, `builds` which build of the engine each process ran (without it: one). The
    method of moments for unbalanced nested designs: mean squares of each level equated to their expectation (Searle,
    Casella and McCulloch 1992, Variance Components, chapter 5), a negative estimate being zero. ONNX Runtime and
    OpenVINO build when they load, once a process, so their build variation is part of the process level; a level of its
    own have runtimes whose engine is built once and kept. Raises MeasurementError where a level has too few members.
    """
    names = list(builds) if builds is not None else [0] * len(runs)
    _check(runs, names)
    counts = np.array([len(times) for times in runs], float)
    means = np.array([float(np.mean(np.asarray(times, float))) for times in runs])
    within = sum(float(np.sum((np.asarray(times, float) - mean) ** 2)) for times, mean in zip(runs, means, strict=True))
    known: dict[Hashable, int] = {}
    index = np.array([known.setdefault(name, len(known)) for name in names])
    run, process, build = _components(counts, means, within, index)
    centre = float(counts @ means / counts.sum())
    relative = [float(np.sqrt(max(part, 0.0))) / centre for part in (run, process, build)]
    return Scatter(relative[0], relative[1], relative[2] if len(known) > 1 else None)


def _components(
    counts: NDArray[np.float64], means: NDArray[np.float64], within: float, index: NDArray[np.int64]
) -> tuple[float, float, float]:
    """Return the variances of run, process and build from each process's count, mean and build."""
    total, processes, builds = counts.sum(), len(counts), int(index.max()) + 1
    sizes = np.bincount(index, counts)
    centres = np.bincount(index, counts * means) / sizes
    run = within / (total - processes)
    # Mean square between processes of a build: run + k1 process; between builds: run + k2 process + k3 build.
    mean_square = float(counts @ (means - centres[index]) ** 2) / (processes - builds)
    squares = np.bincount(index, counts**2)
    process = (mean_square - run) / ((total - float((squares / sizes).sum())) / (processes - builds))
    if builds == 1:
        return run, process, 0.0
    k2 = float((squares / sizes).sum() - (counts**2).sum() / total) / (builds - 1)
    k3 = float(total - (sizes**2).sum() / total) / (builds - 1)
    mean_square = float(sizes @ (centres - counts @ means / total) ** 2) / (builds - 1)
    return run, process, (mean_square - run - k2 * max(process, 0.0)) / k3


def _check(runs: Sequence[Sequence[float]], builds: Sequence[Hashable]) -> None:
    if len(builds) != len(runs):
        raise MeasurementError(f"each process has one build; there are {len(runs)} processes and {len(builds)} builds")
    if len(runs) < 2 or min(map(len, runs)) < 2:
        raise MeasurementError("variance components need at least two processes of at least two runs each")
    if len(set(builds)) > 1 and min(map(builds.count, builds)) < 2:
        raise MeasurementError("variance components need at least two processes of each build")
