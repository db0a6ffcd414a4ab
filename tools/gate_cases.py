"""The known distributions of tools/study_gate.py: how long runs take, how processes differ, what the machine does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Times = NDArray[np.float64]
Sampler = Callable[[np.random.Generator, tuple[int, ...]], Times]
"""Draws factors around 1, of the given shape: of runs within a process, of processes, of a machine (gates, rounds)."""
CHANGE = 0.1
"""How far a machine drifts or steps within the time limit."""


@dataclass(frozen=True)
class Case:
    """One known truth. A machine that is `disturbed` may leave an absolute latency undecided, but never wrong."""

    name: str
    runs: Sampler
    processes: Sampler
    others: Sampler | None = None
    """How processes of the baseline or anchor differ, where not like those of the engine."""
    machine: Sampler | None = None
    felt: float = 1.0
    """What share of the machine's change the anchor feels, too."""
    disturbed: bool = False


def log_normal(spread: float) -> Sampler:
    """Return factors whose logarithm has this standard deviation."""
    return lambda random, shape: np.exp(spread * random.standard_normal(shape))


def bimodal(share: float, gap: float, spread: float) -> Sampler:
    """Return log-normal factors of which a share is slower by `gap`."""
    smooth = log_normal(spread)
    return lambda random, shape: smooth(random, shape) * np.where(random.random(shape) < share, 1 + gap, 1.0)


def heavy_tailed(index: float, scale: float, spread: float) -> Sampler:
    """Return log-normal factors, each longer by a Pareto tail from zero on; infinite variance at an index up to 2."""
    smooth = log_normal(spread)
    return lambda random, shape: smooth(random, shape) * (1 + scale * random.pareto(index, shape))


def steady(level: float) -> Sampler:
    """Return a machine whose times are this multiple of the registered ones."""
    return lambda _, shape: np.full(shape, level)


def drifting(by: float, rounds: int) -> Sampler:
    """Return a machine whose times change linearly, by this share after so many rounds."""
    return lambda _, shape: np.broadcast_to(1 + by * np.arange(shape[1], dtype=np.float64) / rounds, shape)


def stepping(by: float, rounds: int) -> Sampler:
    """Return a machine whose times change at once, by this share, at a random one of so many rounds."""
    return lambda random, shape: np.where(np.arange(shape[1]) >= random.integers(0, rounds, (shape[0], 1)), 1 + by, 1.0)


def visited(most: float) -> Sampler:
    """Return a machine that is slower by up to this share, another in each round, as neighbours come and go."""
    return lambda random, shape: 1 + most * random.random(shape)


def cases(rounds: int) -> dict[str, list[Case]]:
    """Return the cases of each kind of gate; `rounds` is how many fit into the time limit."""
    plain, usual = log_normal(0.02), log_normal(0.01)
    two_modes, tail = bimodal(0.3, 0.1, 0.02), heavy_tailed(1.5, 0.01, 0.01)
    split = bimodal(0.3, 0.04, 0.005)
    undisturbed = [
        *(Case(f"log-normal, processes {spread} %", plain, log_normal(spread / 100)) for spread in range(4)),
        Case("bimodal runs: 30 % are 10 % slower", two_modes, usual),
        Case("bimodal processes: 30 % are 4 % slower", plain, split),
        Case("bimodal runs and processes", two_modes, split),
        Case("bimodal processes of this engine only", plain, split, usual),
        Case("heavy-tailed runs", tail, usual),
        Case("heavy-tailed processes", plain, tail),
        Case("heavy-tailed runs and processes", tail, tail),
        Case("heavy-tailed runs, bimodal processes of this engine only", tail, split, usual),
    ]
    moving = {
        "drifting 10 % slower": drifting(CHANGE, rounds),
        "drifting 10 % faster": drifting(-CHANGE, rounds),
        "at once 10 % slower": stepping(CHANGE, rounds),
        "at once 10 % faster": stepping(-CHANGE, rounds),
        "up to 20 % slower, each round anew": visited(0.2),
    }
    other = {
        "1.5 % slower than registered": steady(1.015),
        "1.5 % faster than registered": steady(0.985),
        "10 % slower than registered": steady(1.1),
    }
    moved = [Case(f"machine {name}", plain, usual, machine=machine) for name, machine in moving.items()]
    moved += [
        Case(f"machine {name}, processes 3 %", plain, log_normal(0.03), machine=machine)
        for name, machine in list(moving.items())[:2]
    ]
    off = [Case(f"machine {name}", plain, usual, machine=machine) for name, machine in other.items()]
    off += [replace(undisturbed[-1], name=f"{undisturbed[-1].name}; machine 1.5 % slower", machine=steady(1.015))]
    unlike = [
        Case("machine 2 % slower, for the anchor 1.6 %", plain, usual, machine=steady(1.02), felt=0.8),
        Case("machine 10 % slower, for the anchor 5 %", plain, usual, machine=steady(1.1), felt=0.5),
    ]
    return {
        "relative": [*undisturbed, *moved],
        "absolute": [*undisturbed, *(replace(case, disturbed=True) for case in (*moved, *off, *unlike))],
    }
