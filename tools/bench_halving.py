"""Does successive halving choose a better network for the same training? On tables of trainings, paired over seeds.

    python -m tools.bench_halving FOLDER [--seeds 5] [--first 0] [--draws 500]

Every network of a small space (ResNets of three stages, WIDTHS each) is trained once a seed as a trial of the stage
`trials` is, under a teacher, on 2,000 images of Fashion-MNIST at 14 by 14 pixels: EPOCHS epochs, validated after each
of them, and once more for SHORT epochs alone. FOLDER keeps a row for each, and what is there is not made again. What a
method finds is then read from the table, for many orders in which networks may be proposed: the largest first, as the
stage does, and in a second table any first, for spaces whose largest network is not already a good choice.
All methods may spend SPENT epochs, however they divide them, and are given the same order:

- `plain`: as many networks as the images pay for, all of them in full, and the best of them;
- `short`: three times as many, each trained in full for SHORT epochs, which is a schedule of its own;
- `halving 3`, `halving 2`: what the stage does with that `halving`, from the first rung to the last.

`all` is the best of all networks in full, for more images. A network that was chosen is judged by what it gets right on
10,000 test images after a full training: `again` by trainings of other seeds, the mean over them, as the stage
`distill` trains anew; `kept` by the full training of the same seed. Prints means over seeds, differences to `plain`
with their 95 % interval (Student's t over seeds, each the mean over orders; those of `again` share their judges, so
that their interval flatters a little), and how much of the final ranks is known after each epoch. One thread, about
three minutes a seed.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import stats

from edgekd import target as targets
from edgekd.artifact import ArtifactSet
from edgekd.distill.lesson import Lesson
from edgekd.distill.teach import TeachConfig, teach
from edgekd.models.build import build
from edgekd.models.kernels import macs
from edgekd.recipe import ModelSpec, Recipe
from edgekd.search.candidate import candidate
from edgekd.search.course import Score
from edgekd.search.halving import all_epochs, going_on, rungs
from edgekd.search.space import Point
from edgekd.stage import Context
from edgekd.train import data
from edgekd.train.dataset import DataSet
from edgekd.train.evaluate import accuracy, logits
from edgekd.train.stage import TeacherConfig, TeacherStage
from tools.bench_losses import interval
from tools.rows import add_row, rows_in
from tools.warm_start_tasks import clothes

WIDTHS = ((4, 8, 12), (8, 12, 16, 24), (8, 16, 32))
MODEL = {"name": "resnet", "options": {"blocks": [1, 1, 1], "channels": [16, 32, 48]}}
DATA = {"factory": "tools.bench_halving:small", "augmentation": "crop-flip", "augmentation_options": {"padding": 1}}
EPOCHS, SHORT = 9, 3
TRAINING = TeachConfig(epochs=EPOCHS, batch=64, learning_rate=0.1)
TEACHER = TeacherConfig(epochs=12, batch=64, learning_rate=0.1)
IMAGES = 2000
SPENT = 63
"""Epochs of all networks of a method together."""
HALVED = {"halving 3": (27, 3), "halving 2": (24, 2)}
"""How many networks begin, and eta."""
METHODS = ("plain", "short", *HALVED, "all")


@dataclass(frozen=True)
class Row:
    """One network and seed; errors in percent of the validation images, `test` what is right of the test images."""

    seed: int
    network: Point
    errors: tuple[float, ...]
    """After each epoch of the full training."""
    short: float
    test: float


Table = Mapping[Point, Row]


def small() -> DataSet:
    """Return clothes at 14 by 14 pixels."""
    return clothes(IMAGES)


def spec_of(point: Point) -> ModelSpec:
    """Return a network of the space."""
    channels = [choices[at] for choices, at in zip(WIDTHS, point, strict=True)]
    return ModelSpec(name="resnet", options={"blocks": [1, 1, 1], "channels": channels})


def sizes() -> dict[Point, int]:
    """Return all networks and what they multiply, the largest first."""
    found = {p: macs(candidate("student", spec_of(p), (1, 14, 14), 10).kernels) for p in product(*map(_places, WIDTHS))}
    return dict(sorted(found.items(), key=lambda one: (-one[1], one[0])))


def _places(choices: Sequence[int]) -> range:
    return range(len(choices))


def rows(folder: Path, seed: int) -> dict[Point, Row]:
    """Train all networks with one seed, unless they are in the folder."""
    path = folder / f"rows-{seed}.jsonl"
    known = {row.network: row for row in rows_in(path, _read)}
    missing = [point for point in sizes() if point not in known]
    if missing:
        context = _context(folder, 0)
        artifacts = TeacherStage(TEACHER).run(ArtifactSet(), replace(context, folder=folder / "teacher"))
        context = _context(folder, seed)
        for point in missing:
            known[point] = _trained(point, artifacts, context)
            add_row(known[point], path)
        print(f"  seed {seed}: trained {len(missing)} networks", flush=True)
    return known


def _read(network: Sequence[int], **fields: Any) -> Row:
    return Row(network=tuple(network), **fields)


def _trained(point: Point, artifacts: ArtifactSet, context: Context) -> Row:
    """Train one network in full, and once more for a short time."""
    dataset, seed = data.load(context.recipe.data), context.recipe.seed
    found = dict[int, tuple[tuple[float, ...], float]]()
    for epochs in (EPOCHS, SHORT):
        config = TRAINING.replace(epochs=epochs)
        torch.manual_seed(seed)
        model = build(spec_of(point), dataset.input_shape, dataset.classes)
        score = Lesson(artifacts, context, config, context.recipe.data).score
        with tempfile.TemporaryDirectory() as place:
            title = f"{point}, {epochs} epochs"
            history = teach(model, artifacts, context, config, folder=Path(place), title=title, score=score)
        right = accuracy(logits(model, data.normalised(dataset.test, dataset)), dataset.test.labels)
        found[epochs] = (tuple(100 - one for one in history.scores), right)
    return Row(seed, point, found[EPOCHS][0], found[SHORT][0][-1], found[EPOCHS][1])


def _context(folder: Path, seed: int) -> Context:
    plain = {"model": MODEL, "data": DATA, "budget": {"latency_ratio": 1.0}, "stages": {"teacher": {}}, "seed": seed}
    place = folder / f"seed-{seed}"
    (folder / "teacher").mkdir(parents=True, exist_ok=True)
    recipe = Recipe.model_validate(plain)
    return Context(folder, place, folder / "cache", recipe, targets.load("x86-avx2"), origin_is_device=False)


def chosen(method: str, order: Sequence[Point], table: Table, cost: Mapping[Point, int]) -> Point:
    """Return the network a method ends with, when networks are proposed in that order."""
    if method in HALVED:
        count, eta = HALVED[method]
        left = list(order[:count])
        for rung in rungs(count, EPOCHS, eta):
            told = {p: _score(p, table[p].errors[rung.epochs - 1]) for p in left}
            left = going_on(told, eta, cost.__getitem__)
        return left[0]
    if method == "short":
        tried, error = order[: SPENT // SHORT], {point: row.short for point, row in table.items()}
    else:
        tried = order if method == "all" else order[: SPENT // EPOCHS]
        error = {point: row.errors[-1] for point, row in table.items()}
    return min(tried, key=lambda point: (error[point], cost[point]))


def _score(point: Point, error: float) -> Score:
    return Score(spec=ModelSpec(name=str(point)), error_percent=error, images=0)


def found(tables: Sequence[Table], draws: int, *, largest_first: bool) -> dict[tuple[str, str], np.ndarray]:
    """Return by method and kind of judgement what is right on test images in percent, one number a seed."""
    cost = sizes()
    first, others = (list(cost)[:1], list(cost)[1:]) if largest_first else ([], list(cost))
    right = {(method, kind): np.zeros(len(tables)) for method in METHODS for kind in ("again", "kept")}
    for seed, table in enumerate(tables):
        again = _again(tables, seed)
        random = np.random.default_rng(seed)
        for _ in range(draws):
            order = [*first, *(others[int(k)] for k in random.permutation(len(others)))]
            for method in METHODS:
                point = chosen(method, order, table, cost)
                right[method, "again"][seed] += again[point] / draws
                right[method, "kept"][seed] += table[point].test / draws
    return right


def _again(tables: Sequence[Table], seed: int) -> dict[Point, float]:
    """Return what networks get right on test images when they are trained with the other seeds."""
    rest = [other for number, other in enumerate(tables) if number != seed] or tables
    return {point: float(np.mean([other[point].test for other in rest])) for point in tables[seed]}


def foretold(tables: Sequence[Table]) -> str:
    """Return how validation after so many epochs ranks networks, against what trainings of other seeds end with."""
    found = []
    for seed, table in enumerate(tables):
        again = _again(tables, seed)
        errors = np.array([[*table[point].errors, table[point].short] for point in again])
        found.append([-stats.spearmanr(column, list(again.values())).statistic for column in errors.T])
    *full, short = np.mean(found, axis=0)
    told = ", ".join(f"{epoch}: {rank:.2f}" for epoch, rank in enumerate(full, start=1))
    return f"Spearman of ranks after so many epochs: {told}; after {SHORT} epochs alone: {short:.2f}"


def lines(right: Mapping[tuple[str, str], np.ndarray]) -> Iterator[str]:
    """Yield the lines of a markdown table."""
    yield "| method | epochs | again, % | against plain | kept, % | against plain |"
    yield "|---|---|---|---|---|---|"
    epochs = dict.fromkeys(METHODS, SPENT) | {"all": len(sizes()) * EPOCHS}
    epochs |= {method: all_epochs(rungs(count, EPOCHS, eta)) for method, (count, eta) in HALVED.items()}
    for method in METHODS:
        cells = [str(epochs[method])]
        for kind in ("again", "kept"):
            mine, plain = right[method, kind], right["plain", kind]
            cells += [f"{mine.mean():.2f}", "" if method == "plain" else interval(mine - plain)]
        yield f"| {method} | {' | '.join(cells)} |"


def main() -> None:
    """Train what is missing, choose, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where everything is kept")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first", type=int, default=0, help="seed")
    parser.add_argument("--draws", type=int, default=500, help="orders in which networks are proposed, a seed")
    given = parser.parse_args()
    torch.set_num_threads(1)
    given.folder.mkdir(parents=True, exist_ok=True)
    tables = [rows(given.folder, seed) for seed in range(given.first, given.first + given.seeds)]
    spread = np.array([[row.test for row in table.values()] for table in tables])
    print(f"{len(tables)} seeds, {spread.shape[1]} networks, {spread.min():.2f} to {spread.max():.2f} % right in full")
    for largest_first in (True, False):
        print("the largest first:" if largest_first else "any first:")
        print(*lines(found(tables, given.draws, largest_first=largest_first)), sep="\n")
    print(foretold(tables))


if __name__ == "__main__":
    main()
