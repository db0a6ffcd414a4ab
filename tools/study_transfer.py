"""Prediction on devices of NAS-Bench-201: from 100 cells alone, and from 10 cells with the other devices as prior.

    python -m tools.study_transfer [--draws 20]

The table is printed as Markdown: Spearman's rank correlation and the share of cells within 10 %, mean over the draws,
on all cells that were not measured. *Ceiling* is the rank correlation of a fit to half of the cells of the same device
with the other half: phones are rounded to whole milliseconds and tables hold disturbed measurements, which nobody can
predict. Exit code 1 when a goal is missed.
"""

from __future__ import annotations

import argparse
import sys
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from edgekd.predict.gaussian_process import standardised
from edgekd.predict.surrogate import Surrogate
from edgekd.predict.transfer import most_telling, transfer
from tests.predict import nas_bench_201 as table

Array = NDArray[np.float64]

ALONE, FEW, OFFERED, KNOWN_FROM = 100, 10, 300, 400
GOAL_ALONE, GOAL_ALONE_NEAR, GOAL_FEW = 0.95, 0.70, 0.94


def rank(predicted: Array, measured: Array) -> float:
    """Return Spearman's rank correlation."""
    return float(stats.spearmanr(predicted, measured)[0])


def near(predicted: Array, measured: Array) -> float:
    """Return the share predicted within 10 %."""
    return float(np.mean(np.abs(predicted / measured - 1) <= 0.1))


def ceilings(latencies: Array) -> Array:
    """Return, by device, the rank correlation of a ridge fit to half of the cells with the other half."""
    written = table.cells()
    single = [(written[:, edge] == kind).astype(float) for edge in range(6) for kind in range(5)]
    pairs = [one * other for one, other in combinations(single, 2)]
    summed, groups = table.features()
    rows = np.column_stack([np.ones(len(written)), *single, *pairs, np.log1p(summed), *groups])
    halves = np.random.default_rng(0).permutation(len(rows))
    fitted, tested = halves[::2], halves[1::2]
    design = rows[fitted]
    costs = np.linalg.solve(design.T @ design + 3 * np.eye(rows.shape[1]), design.T @ np.log(latencies[fitted]))
    return np.array([rank(rows[tested] @ costs[:, j], latencies[tested, j]) for j in range(latencies.shape[1])])


def predicted(device: Array, rows: NDArray[np.intp]) -> Array:
    """Return the predicted latencies in ms of all cells from those measured in `rows`."""
    summed, groups = table.features()
    scaled = [standardised(group) for group in groups]
    surrogate = Surrogate(summed[rows], [group[rows] for group in scaled], device[rows])
    return np.asarray(np.exp(surrogate(summed, scaled).mean))


def few(known: Array, structure: Array, device: Array, random: np.random.Generator) -> tuple[float, float]:
    """Return rank correlation and share within 10 % from ten cells, the most telling of a random offer."""
    offered = random.choice(len(known), OFFERED, replace=False)
    rows = most_telling(known, structure, list(offered), FEW)
    found = np.exp(transfer(known, structure, rows, device[rows]).mean)
    rest = np.setdiff1d(np.arange(len(known)), rows)
    return rank(found[rest], device[rest]), near(found[rest], device[rest])


def main() -> int:
    """Print the table; exit code 1 when a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=20)
    draws = parser.parse_args().draws
    devices, latencies = table.latencies()
    _, groups = table.features()
    structure = standardised(np.concatenate([groups[0], groups[2]], axis=1))
    random = np.random.default_rng(0)
    everywhere = range(len(devices))
    known = np.stack([predicted(d, random.choice(len(d), KNOWN_FROM, replace=False)) for d in latencies.T], axis=1)
    alone, with_prior = np.zeros((draws, len(devices), 2)), np.zeros((draws, len(devices), 2))
    for draw in range(draws):
        rows = random.choice(len(latencies), ALONE, replace=False)
        rest = np.setdiff1d(np.arange(len(latencies)), rows)
        for j in everywhere:
            found = predicted(latencies[:, j], rows)
            alone[draw, j] = rank(found[rest], latencies[rest, j]), near(found[rest], latencies[rest, j])
            others = [i for i in everywhere if i != j]
            with_prior[draw, j] = few(known[:, others], structure, latencies[:, j], random)
    print(f"| device | {ALONE} cells alone | within 10 % | {FEW} cells and the others | within 10 % | ceiling |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    top = ceilings(latencies)
    one, other = alone.mean(axis=0), with_prior.mean(axis=0)
    for j, device in enumerate(devices):
        print(
            f"| {device} | {one[j, 0]:.3f} | {one[j, 1]:.0%} | {other[j, 0]:.3f} | {other[j, 1]:.0%} | {top[j]:.3f} |"
        )
    cpus = [devices.index(name) for name in table.CPUS]
    reached = one[cpus, 0].mean(), one[cpus, 1].mean(), other[:, 0].mean()
    print(
        f"\nCPUs from {ALONE} cells: {reached[0]:.4f}, {reached[1]:.1%} within 10 %; all from {FEW}: {reached[2]:.4f}"
    )
    return int(reached[0] < GOAL_ALONE or reached[1] < GOAL_ALONE_NEAR or reached[2] < GOAL_FEW)


if __name__ == "__main__":
    sys.exit(main())
