"""Cells of NAS-Bench-201 as a predictor sees them, and their measured latencies on fourteen devices (see README.md)."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

TABLE = Path(__file__).parents[1] / "data" / "nas_bench_201" / "latency_ms.csv.gz"
NASWOT = TABLE.with_name("naswot.csv.gz")
OPERATORS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
CPUS = ("raspi4", "pixel2", "samsung_a50", "essential_ph_1", "gold_6226", "silver_4114", "silver_4210r")
_NONE, _POOL, _CONV1, _CONV3 = 0, 4, 2, 3


@lru_cache(maxsize=1)
def latencies() -> tuple[tuple[str, ...], Array]:
    """Return the devices and the latencies in ms, (15625, 14)."""
    with gzip.open(TABLE, "rt", encoding="utf-8") as stream:
        header, *rows = csv.reader(stream)
    return tuple(name.removesuffix("_ms") for name in header[2:]), np.array([row[2:] for row in rows], np.float64)


@lru_cache(maxsize=1)
def cells() -> NDArray[np.intp]:
    """Return the operator on each of the six edges of every cell, (15625, 6)."""
    with gzip.open(TABLE, "rt", encoding="utf-8") as stream:
        texts = [row[1] for row in csv.reader(stream)][1:]
    return np.array([[OPERATORS.index(part.split("~")[0]) for part in _edges(text)] for text in texts])


def _edges(text: str) -> list[str]:
    return [part for node in text.split("+") for part in node.strip("|").split("|")]


@lru_cache(maxsize=1)
def features() -> tuple[Array, tuple[Array, ...]]:
    """Return of every cell what its cost is a sum of, (15625, k), and groups of features for what the sum misses.

    Some runtimes compute operators whose result nobody uses, others remove them: both ways of counting are features.
    """
    written, alive = cells(), live()
    wanted = np.array([_used(cell, forwards=False) for cell in written])
    counts = [np.stack([(ops == kind).sum(axis=1) for kind in range(1, 5)], axis=1) for ops in (alive, written, wanted)]
    joins = np.stack([_joins(alive), _joins(written)], axis=1)
    paths = np.array([[_longest(cell, weights) for weights in ((1, 1, 1), (0, 1, 0), (1, 3, 1))] for cell in alive])
    some = np.stack([alive.any(axis=1), (alive > 0).sum(axis=1)], axis=1)
    summed = np.concatenate([np.ones((len(written), 1)), *counts, joins], axis=1).astype(np.float64)
    shape = np.concatenate([*counts, joins, paths, some], axis=1).astype(np.float64)
    return summed, (shape, _one_hot(written), _one_hot(alive))


@lru_cache(maxsize=1)
def live() -> NDArray[np.intp]:
    """Return every cell without the operators that its output does not use or its input does not reach, (15625, 6)."""
    return np.array([_used(cell, forwards=True) for cell in cells()])


@lru_cache(maxsize=1)
def naswot() -> Array:
    """Return a score of every cell that ranks like accuracy, higher is better, (15625,); tools/write_naswot.py."""
    with gzip.open(NASWOT, "rt", encoding="utf-8") as stream:
        return np.array([row[1] for row in csv.reader(stream)][1:], np.float64)


def _used(cell: Sequence[int], *, forwards: bool) -> list[int]:
    """Return the cell without operators that its output does not use (and, `forwards`, its input does not reach)."""
    reached, needed = [True, not forwards, not forwards, not forwards], [False, False, False, True]
    for (start, end), kind in zip(EDGES, cell, strict=True):
        reached[end] |= kind != _NONE and reached[start]
    for (start, end), kind in reversed(list(zip(EDGES, cell, strict=True))):
        needed[start] |= kind != _NONE and needed[end]
    return [k if reached[start] and needed[end] else _NONE for (start, end), k in zip(EDGES, cell, strict=True)]


def _joins(ops: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return how many additions a cell has: one less than the edges that end in each node."""
    ends = np.array([end for _, end in EDGES])
    incoming = np.stack([(ops[:, ends == node] > 0).sum(axis=1) for node in (1, 2, 3)], axis=1)
    return np.asarray(np.maximum(incoming - 1, 0).sum(axis=1))


def _longest(cell: Sequence[int], weights: tuple[int, int, int]) -> float:
    """Return the longest path from input to output; `weights` are those of a 1x1, a 3x3 convolution and a pooling."""
    weight = {_CONV1: weights[0], _CONV3: weights[1], _POOL: weights[2]}
    far = [0.0, -np.inf, -np.inf, -np.inf]
    for (start, end), kind in zip(EDGES, cell, strict=True):
        if kind != _NONE:
            far[end] = max(far[end], far[start] + weight.get(kind, 0))
    return max(far[3], 0.0)


def _one_hot(ops: NDArray[np.intp]) -> Array:
    return np.concatenate([ops == kind for kind in range(1, 5)], axis=1).astype(np.float64)
