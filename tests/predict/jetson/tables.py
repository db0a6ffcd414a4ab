"""The measured networks of tests/data/jetson as work and latencies."""

from __future__ import annotations

import csv
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgekd.kernel import FusedKernel
from edgekd.predict.board import Board, Measured
from edgekd.predict.work import work
from tests.predict.jetson import classifiers, dense

Array = NDArray[np.float64]

FOLDER = Path(__file__).parents[2] / "data" / "jetson"


class Table(NamedTuple):
    """Networks measured on one board."""

    board: Board
    networks: tuple[str, ...]
    works: Array
    latencies_ms: Array

    def measured(self, networks: object = None) -> Measured:
        """Return the table with those `networks` only, in its own order; all where not given."""
        rows = self.rows(self.networks if networks is None else networks)
        return Measured(self.board, self.works[rows], self.latencies_ms[rows])

    def rows(self, networks: object) -> list[int]:
        wanted = {name.lower() for name in networks}  # type: ignore[attr-defined]
        return [row for row, name in enumerate(self.networks) if name.lower() in wanted]


def kernels(network: str, classes: int, pixels: int) -> list[FusedKernel]:
    """Return the fused kernels of a network by the name it has in a table."""
    name = network.lower()
    if name in dense.YOLOX:
        return dense.yolox(name, classes, pixels)
    if name == "pidnet-s":
        return dense.pidnet_s(classes, pixels)
    return classifiers.kernels(name, classes, pixels)


@lru_cache
def boards() -> dict[str, Board]:
    with (FOLDER / "boards.csv").open(encoding="utf-8") as stream:
        return {name: Board(name, *map(float, figures)) for name, *figures in list(csv.reader(stream))[1:]}


@lru_cache
def load(file: str) -> tuple[Table, ...]:
    """Return the tables of `netspresso.csv` or `torch2trt.csv`, by board, without `_bn` networks."""
    with (FOLDER / file).open(encoding="utf-8") as stream:
        rows = [row for row in csv.DictReader(stream) if not row["network"].endswith("_bn")]
    found = []
    for board in dict.fromkeys(row["board"] for row in rows):
        own = [row for row in rows if row["board"] == board]
        works = [work(kernels(row["network"], int(row["classes"]), int(row["pixels"]))) for row in own]
        latencies = np.array([float(row["latency_ms"]) for row in own])
        found.append(Table(boards()[board], tuple(row["network"] for row in own), np.stack(works), latencies))
    return tuple(found)
