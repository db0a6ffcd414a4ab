"""Prediction on Jetson boards whose kernels nobody measured: each board and each network left out in turn.

    python -m tools.study_roofline [--write]

A network is predicted on a board from the other networks on the other boards and from three other networks on this one.
*Chosen*: the three that the model calls most telling before it has seen anything of the board. *Any*: the mean over all
triples. *Scaled*: the other board's own figure of that network, which the model does not see, times the median ratio of
the same three networks; of the two other boards the better one. The second table takes the three boards as known and
predicts another's figures on two of them, with another TensorRT and other networks. --write renews the file of known
boards. Exit code 1 when a goal is missed.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from edgekd.predict.known_boards import FILE
from edgekd.predict.roofline import Roofline, bounds_ms
from edgekd.predict.work import TERMS
from tests.predict.jetson.tables import Table, load

Array = NDArray[np.float64]

COUNT = 3
GOAL_ERROR, GOAL_RANK = 0.10, 0.95


class Found(NamedTuple):
    """What was predicted for networks of one board, (n,) each."""

    predicted_ms: Array
    lower_ms: Array
    upper_ms: Array
    scaled_ms: Array
    """By the baseline, from each other board that has the same networks, (n, d)."""
    measured_ms: Array
    triples: tuple[tuple[str, ...], ...]

    @property
    def error(self) -> float:
        """Return the median relative error."""
        return float(np.median(np.abs(self.predicted_ms / self.measured_ms - 1)))

    @property
    def scaled_errors(self) -> Array:
        """Return the same of the baseline, from each other board, (d,)."""
        return np.asarray(np.median(np.abs(self.scaled_ms / self.measured_ms[:, None] - 1), axis=0))

    @property
    def rank(self) -> float:
        """Return Spearman's rank correlation."""
        return float(stats.spearmanr(self.predicted_ms, self.measured_ms)[0])

    @property
    def covered(self) -> float:
        """Return the share of networks within both bounds."""
        return float(np.mean((self.lower_ms <= self.measured_ms) & (self.measured_ms <= self.upper_ms)))


def left_out(here: Table, others: Sequence[Table], triple: Sequence[str] | None = None) -> Found:
    """Predict every network of a board from `triple` (the most telling where not given) and the others elsewhere."""
    rows = []
    for row, name in enumerate(here.networks):
        if triple is not None and name in triple:
            continue
        rest = [other for other in here.networks if other != name]
        elsewhere = {other for table in others for other in table.networks if other.lower() != name.lower()}
        known = [table.measured(elsewhere) for table in others]
        chosen = triple
        if chosen is None:
            telling = Roofline.uncalibrated(here.board, known).most_telling(here.works[here.rows(rest)], COUNT)
            chosen = [rest[position] for position in telling]
        found = Roofline(here.measured(chosen), known)(here.works[[row]])
        lower, upper = bounds_ms(found)
        factors = [_scaled(here, table, name, chosen) for table in others if table.networks == here.networks]
        rows.append((np.exp(found.mean[0]), lower[0], upper[0], factors, here.latencies_ms[row], tuple(chosen)))
    predicted, low, high, scaled, measured, triples = zip(*rows, strict=True)
    return Found(np.array(predicted), np.array(low), np.array(high), np.array(scaled), np.array(measured), triples)


def _scaled(here: Table, other: Table, name: str, triple: Sequence[str]) -> float:
    mine, theirs = here.latencies_ms[here.rows(triple)], other.latencies_ms[other.rows(triple)]
    return float(other.latencies_ms[other.rows([name])][0] * np.median(mine / theirs))


def any_triple(here: Table, others: Sequence[Table]) -> tuple[float, float, float, float]:
    """Return means over all triples: error, the scaled table's, the share covered, and the least rank correlation."""
    found = [left_out(here, others, triple) for triple in combinations(here.networks, COUNT)]
    return (
        float(np.mean([each.error for each in found])),
        float(np.mean([each.scaled_errors for each in found], axis=0).min()),
        float(np.mean([each.covered for each in found])),
        min(each.rank for each in found),
    )


def write(tables: Sequence[Table]) -> None:
    """Write the boards as plain numbers, for edgekd.predict.known_boards."""
    first = tables[0]
    written = {
        "source": "Nota-NetsPresso/netspresso-trainer @ cdefe1253ae6, Apache-2.0: TensorRT, fp16, batch 1, ms",
        "terms": TERMS,
        "networks": [
            {"name": name, "work": [float(f"{value:.6g}") for value in row]}
            for name, row in zip(first.networks, first.works, strict=True)
        ],
        "boards": [{**vars(table.board), "latencies_ms": table.latencies_ms.tolist()} for table in tables],
    }
    FILE.write_text(json.dumps(written, indent=1) + "\n", encoding="utf-8")


def main() -> int:
    """Print the tables; exit code 1 when a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true")
    tables = load("netspresso.csv")
    if parser.parse_args().write:
        write(tables)
    missed = False
    print(
        "| board | chosen | scaled | Spearman | covered | any | scaled | least Spearman | covered | most often chosen |"
    )
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- |")
    for here in tables:
        others = [table for table in tables if table is not here]
        found, (error, scaled, covered, rank) = left_out(here, others), any_triple(here, others)
        missed |= found.error > min(GOAL_ERROR, found.scaled_errors.min()) or found.rank < GOAL_RANK
        often = max(set(found.triples), key=found.triples.count)
        print(
            f"| {here.board.name} | {found.error:.1%} | {found.scaled_errors.min():.1%} | {found.rank:.3f} "
            f"| {found.covered:.0%} | {error:.1%} | {scaled:.1%} | {rank:.3f} | {covered:.0%} | {', '.join(often)} |"
        )
    print("\n| board of the other table | networks | chosen | Spearman | covered | most often chosen |")
    print("| --- | ---: | ---: | ---: | ---: | --- |")
    for here in load("torch2trt.csv"):
        found = left_out(here, tables)
        often = max(set(found.triples), key=found.triples.count)
        print(
            f"| {here.board.name} | {len(here.networks)} | {found.error:.1%} | {found.rank:.3f} | {found.covered:.0%} "
            f"| {', '.join(often)} |"
        )
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
