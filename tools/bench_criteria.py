"""Which pruning criterion helps? The same network, cut to the same widths by every criterion; paired over seeds.

    python -m tools.bench_criteria FOLDER [--seeds 8] [--networks resnet] [--criteria taylor,lamp] [--rows FILE]

FOLDER keeps a teacher for every network and seed, trained once, and what it says of the images. A row is one cut: half
of every group's channels go, BatchNorm is renewed and the network recovers, as in the prune stage; accuracy on test
images right after the cut and after the recovery. Rows are kept in FILE, and those that are there are not pruned again.
Prints the tables of docs/pruning.md: differences to `magnitude` and to `random` with their 95 % interval (Student's t
over seeds). One thread, 25 minutes of one core.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from edgekd import target as targets
from edgekd.artifact import ArtifactSet
from edgekd.distill.teach import TeachConfig, teach
from edgekd.prune import allocator, criterion
from edgekd.prune.cost import FilledMacs
from edgekd.prune.criterion import CRITERIA
from edgekd.prune.cut import Cutter
from edgekd.prune.samples import Samples
from edgekd.prune.trial import prunable
from edgekd.recipe import ModelSpec, Recipe
from edgekd.stage import Context
from edgekd.train import checkpoint, data
from edgekd.train.dataset import DataSet
from edgekd.train.evaluate import accuracy, logits
from edgekd.train.stage import TeacherConfig, TeacherStage
from tools.bench_losses import interval
from tools.rows import add_row, rows_in

NETWORKS = {
    "resnet": ModelSpec(name="resnet", options={"depth": 8, "channels": [8, 16, 32]}),
    "mobilenetv2": ModelSpec(name="mobilenetv2", options={"width": 0.25, "depth": 0.5, "expansion": 2}),
}
DATA = {"name": "fashion-mnist", "options": {"train_size": 2000}, "augmentation": "crop-flip"}
TEACHER = TeacherConfig(epochs=8, batch=64, learning_rate=0.1)
RECOVERY = TeachConfig(epochs=3, batch=64, learning_rate=0.05)
RATIO, STEP = 0.5, 1
SEEN = {"count": 256, "batch": 32}
JUDGED = 5000
"""Test images."""
CONTROLS = ("magnitude", "random")


@dataclass(frozen=True)
class Row:
    """One cut; accuracies in percent of the test split."""

    network: str
    criterion: str
    seed: int
    teacher: float
    cut: float
    recovered: float


def context_of(network: str, seed: int, folder: Path) -> Context:
    """Return the context of a teacher and of its cuts."""
    plain = {"budget": {"latency_ratio": 1.0}, "stages": {"teacher": TEACHER.plain()}, "seed": seed}
    recipe = Recipe.model_validate({"model": NETWORKS[network].plain(), "data": DATA, **plain})
    place = folder / f"{network}-{seed}"
    return Context(place, place, folder / "cache", recipe, targets.load("x86-avx2"), origin_is_device=False)


def pruned(network: str, seed: int, names: Sequence[str], folder: Path) -> Iterator[Row]:
    """Yield a row for each criterion."""
    context = context_of(network, seed, folder)
    artifacts = TeacherStage(TEACHER).run(ArtifactSet(), context)
    dataset = data.load(context.recipe.data)
    model = checkpoint.load(context.path(artifacts.newest(network="teacher")))
    found, cost = prunable(model, dataset.input_shape), FilledMacs(STEP)
    floors = allocator.floors(found.widths, RATIO, STEP)
    limit = cost.of(found.kernels.at(floors))
    samples = Samples(dataset, **SEEN, seed=seed)
    teacher = percent(model, dataset)
    for name in names:
        judge = criterion.create(name, {"seed": seed} if name == "random" else {})
        cutter = Cutter(judge, allocator.create("uniform", {}), samples, cost, STEP)
        with tempfile.TemporaryDirectory() as scratch:
            cut, _ = cutter(model, found, floors, limit, record=Path(scratch) / "cut.json")
            before = percent(cut, dataset)
            teach(cut, artifacts, context, RECOVERY, folder=Path(scratch), title=name)
        yield Row(network, name, seed, teacher, before, percent(cut, dataset))


def percent(model: nn.Module, dataset: DataSet) -> float:
    """Return the accuracy on the first JUDGED images of the test split."""
    test = dataset.test.take(np.arange(JUDGED))
    return accuracy(logits(model, data.normalised(test, dataset)), test.labels)


def table(rows: Sequence[Row]) -> Iterator[str]:
    """Yield the lines of a markdown table, the best recovered first."""
    by = {name: {row.seed: row for row in rows if row.criterion == name} for name in {row.criterion for row in rows}}
    yield "| criterion | after the cut, % | against magnitude | against random |" + (
        " recovered, % | against magnitude | against random |"
    )
    yield "|---|---|---|---|---|---|---|"
    for name in sorted(by, key=lambda name: -_mean(by[name], "recovered")):
        cells = []
        for figure in ("cut", "recovered"):
            cells.append(f"{_mean(by[name], figure):.2f}")
            cells += ["" if name == other else _against(by[name], by.get(other, {}), figure) for other in CONTROLS]
        yield f"| {name} | {' | '.join(cells)} |"


def _mean(mine: dict[int, Row], figure: str) -> float:
    return float(np.mean([getattr(row, figure) for row in mine.values()]))


def _against(mine: dict[int, Row], theirs: dict[int, Row], figure: str) -> str:
    both = sorted(mine.keys() & theirs.keys())
    return interval(np.array([getattr(mine[s], figure) - getattr(theirs[s], figure) for s in both])) if both else ""


def main() -> None:
    """Prune what is missing, print a table a network."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where teachers are kept")
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--networks", default=",".join(NETWORKS), help="names, with commas")
    parser.add_argument("--criteria", default=",".join(CRITERIA.names()), help="names, with commas")
    parser.add_argument("--rows", type=Path, help="a JSON file a line each row, read and added to")
    given = parser.parse_args()
    torch.set_num_threads(1)
    rows = rows_in(given.rows, Row)
    networks, names = given.networks.split(","), given.criteria.split(",")
    for network in networks:
        for seed in range(given.seeds):
            done = {row.criterion for row in rows if (row.network, row.seed) == (network, seed)}
            missing = [name for name in names if name not in done]
            for row in pruned(network, seed, missing, given.folder) if missing else ():
                rows.append(row)
                print(f"  {network} {row.criterion} seed {seed}: {row.cut:.2f} %, {row.recovered:.2f} %", flush=True)
                add_row(row, given.rows)
    for network in networks:
        mine = [row for row in rows if row.network == network]
        print(f"\n{network}, teacher {np.mean([row.teacher for row in mine]):.2f} %\n", *table(mine), sep="\n")


if __name__ == "__main__":
    main()
