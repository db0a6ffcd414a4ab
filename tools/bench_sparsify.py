"""What do zeros in 2:4 cost? The same network after the same recovery: dense, 2:4, and half of each weight anywhere.

    python -m tools.bench_sparsify FOLDER [--seeds 3] [--networks resnet] [--rows FILE]

FOLDER keeps a teacher for every network and seed, as `tools.bench_criteria` does, and what it says of the images. A row
is one pattern of one teacher; accuracy on test images right after its zeros are set and after the recovery. Rows are
kept in FILE, and those that are there are not trained again. Prints the table of docs/pruning.md: differences to the
dense network and to free zeros with their 95 % interval (Student's t over seeds). One thread, a few minutes.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from edgekd.artifact import ArtifactSet
from edgekd.distill.teach import teach
from edgekd.models.two_of_four import layers
from edgekd.prune.sparsify import halve
from edgekd.train import checkpoint, data
from edgekd.train.fixed_zeros import zeros_stay
from edgekd.train.stage import TeacherStage
from tools.bench_criteria import NETWORKS, RECOVERY, TEACHER, context_of, percent
from tools.bench_losses import interval
from tools.rows import add_row, rows_in

Weights = Mapping[str, nn.Parameter]


@dataclass(frozen=True)
class Row:
    """One pattern; accuracies in percent of the test split."""

    network: str
    pattern: str
    seed: int
    teacher: float
    cut: float
    recovered: float


def nothing(weights: Weights) -> None:
    """Leave the weights dense."""
    del weights


def half_of_each(weights: Weights) -> None:
    """Set the smaller half of each weight to zero, wherever it stands."""
    with torch.no_grad():
        for weight in weights.values():
            smallest = weight.abs().flatten().argsort(stable=True)[: weight.numel() // 2]
            weight.view(-1)[smallest] = 0.0


PATTERNS: dict[str, Callable[[Weights], None]] = {"dense": nothing, "free": half_of_each, "2:4": halve}


def sparsified(network: str, seed: int, names: Sequence[str], folder: Path) -> Iterator[Row]:
    """Yield a row for each pattern."""
    context = context_of(network, seed, folder)
    artifacts = TeacherStage(TEACHER).run(ArtifactSet(), context)
    dataset = data.load(context.recipe.data)
    for name in names:
        model = checkpoint.load(context.path(artifacts.newest(network="teacher")))
        teacher, weights = percent(model, dataset), layers(model).fitting
        PATTERNS[name](weights)
        cut = percent(model, dataset)
        with tempfile.TemporaryDirectory() as scratch, zeros_stay(weights):
            teach(model, artifacts, context, RECOVERY, folder=Path(scratch), title=name)
        yield Row(network, name, seed, teacher, cut, percent(model, dataset))


def table(rows: Sequence[Row]) -> Iterator[str]:
    """Yield the lines of a markdown table."""
    yield "| weights | before training, % | recovered, % | against dense | against free |"
    yield "| --- | --- | --- | --- | --- |"
    by = {name: {row.seed: row for row in rows if row.pattern == name} for name in PATTERNS}
    for name, mine in by.items():
        cut, recovered = (np.mean([getattr(row, figure) for row in mine.values()]) for figure in ("cut", "recovered"))
        against = [_against(mine, by[other]) if other != name else "" for other in ("dense", "free")]
        yield f"| {name} | {cut:.2f} | {recovered:.2f} | {' | '.join(against)} |"


def _against(mine: dict[int, Row], theirs: dict[int, Row]) -> str:
    both = sorted(mine.keys() & theirs.keys())
    return interval(np.array([mine[seed].recovered - theirs[seed].recovered for seed in both]))


def main() -> None:
    """Train what is missing, print a table a network."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where teachers are kept")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--networks", default="resnet", help=f"names, with commas: {', '.join(NETWORKS)}")
    parser.add_argument("--rows", type=Path, help="a JSON file a line each row, read and added to")
    given = parser.parse_args()
    torch.set_num_threads(1)
    rows = rows_in(given.rows, Row)
    for network in given.networks.split(","):
        for seed in range(given.seeds):
            done = {row.pattern for row in rows if (row.network, row.seed) == (network, seed)}
            missing = [name for name in PATTERNS if name not in done]
            for row in sparsified(network, seed, missing, given.folder) if missing else ():
                rows.append(row)
                add_row(row, given.rows)
                print(row, flush=True)
        print(f"\n{network}", *table([row for row in rows if row.network == network]), sep="\n")


if __name__ == "__main__":
    main()
