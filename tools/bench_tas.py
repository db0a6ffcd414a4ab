"""Does a search by gradient descent find better widths? TAS against one width for all, at equal predicted latency.

    python -m tools.bench_tas FOLDER [--seeds 3] [--first 0] [--datasets fashion-mnist,mnist5k]

The teacher is the ResNet-8 of `bench_allocators`, five channel steps of this machine wide in all stages, trained alike
for every data set and seed. The limit is what two steps in all stages are predicted to cost from probes that the stage
`search` measures here: `uniform` costs exactly that, TAS at most that. `random` is a network drawn evenly from all that
cost as much as TAS may; what TAS has ahead of it is what its logits have learned. `likeliest` is the likeliest network
below the limit, however far: what the tolerance costs TAS. All are trained alike, with plain knowledge distillation
from the unpruned network. A row is one network: accuracy on test images, what it is predicted to cost of the limit, and
for TAS whether its likeliest network was at the limit by itself. Seconds are those of the processor.
FOLDER keeps teachers, probes, searches and rows, and what is there is not made again. No setting was tuned. Prints a
table for each data set, paired differences with their 95 % interval (Student's t over seeds). One thread, about four
minutes a seed.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from edgekd import target as targets
from edgekd.artifact import ArtifactSet
from edgekd.distill.teach import TeachConfig, teach
from edgekd.measure import machine
from edgekd.models.build import build
from edgekd.models.residual import STAGES, ResNetShape
from edgekd.profile import Profile
from edgekd.recipe import ModelSpec, Recipe
from edgekd.schema import read_json
from edgekd.search.candidate import candidate
from edgekd.search.choice import in_words
from edgekd.search.stage import SearchConfig, SearchStage
from edgekd.search.tas.config import TasConfig
from edgekd.search.tas.landing import by_probability
from edgekd.search.tas.stage import Found, TasStage
from edgekd.stage import Context
from edgekd.train import checkpoint, data
from edgekd.train.dataset import DataSet
from edgekd.train.stage import TeacherStage
from tools.bench_allocators import SETTINGS, WIDTH, float_step, percent
from tools.bench_losses import interval
from tools.rows import add_row, rows_in

UNIFORM = 2
"""Channel steps of the control."""
SPACE = {"depths": [8], "multipliers": [0.2, 1.0], "growths": [1.0]}
TAS = TasConfig(epochs=8, batch=64, learning_rate=0.1)
STUDENT = TeachConfig(epochs=5, batch=64, learning_rate=0.1, losses={"logits-kl": {"weight": 0.5}})
METHODS = ("tas", "uniform", "random", "likeliest")
PERCENTILE, PROBES, PROCESSES = 50, 6, 3
SECONDS = "seconds.json"


@dataclass(frozen=True)
class Row:
    """One trained network; accuracies in percent of the test split."""

    dataset: str
    method: str
    seed: int
    network: str
    cost: float
    """Predicted, of the limit."""
    landed: bool | None
    """Whether the likeliest network of the search was at the limit; None of other methods."""
    teacher: float
    right: float
    teacher_s: float
    search_s: float | None
    training_s: float


@contextmanager
def timed(file: Path) -> Iterator[None]:
    """Add to a file the processor seconds spent here, also where that is stopped."""
    before, started = seconds(file), time.process_time()
    try:
        yield
    finally:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(before + time.process_time() - started))


def seconds(file: Path) -> float:
    """Return the seconds in a file, 0 where there is none."""
    return float(json.loads(file.read_text())) if file.is_file() else 0.0


class Bench:
    """One data set and seed."""

    def __init__(self, name: str, seed: int, folder: Path) -> None:
        self.name, self.seed, self.folder = name, seed, folder
        probes = SearchStage(SearchConfig(student="teacher", probes=PROBES, processes=PROCESSES)).run(
            ArtifactSet(), self._context("search")
        )
        self.profile = read_json(Profile, self._context("search").path(probes.newest(network="probes")))
        with timed(self._context("teacher").folder / SECONDS):
            self.artifacts = TeacherStage(SETTINGS[name].teacher).run(probes, self._context("teacher"))
        self.dataset: DataSet = data.load(self._context("teacher").recipe.data)
        self.judge = SearchConfig.of(self._context("limit").recipe).judge_of(self.profile, self._context("limit"))
        self.uniform = _equal(UNIFORM)
        self.limit_ms = self._cost(self.uniform)
        teacher = self._context("teacher").path(self.artifacts.newest(network="teacher", written_as="torch"))
        self.right = percent(checkpoint.load(teacher), self.dataset)

    def row(self, method: str) -> Row:
        """Find the network of a method, train and judge it."""
        found, search_s = self._found()
        others = {"random": self._drawn, "likeliest": self._likeliest}
        spec = others[method](found) if method in others else self.uniform if method == "uniform" else found.chosen.spec
        context = self._context(f"student-{method}")
        torch.manual_seed(self.seed)
        model = build(spec, self.dataset.input_shape, self.dataset.classes)
        started = time.process_time()
        with tempfile.TemporaryDirectory() as scratch:
            teach(model, self.artifacts, context, STUDENT, folder=Path(scratch), title=method)
        return Row(
            dataset=self.name,
            method=method,
            seed=self.seed,
            network=in_words(spec),
            cost=self._share(spec),
            landed=found.rank == 0 and found.on_limit if method == "tas" else None,
            teacher=self.right,
            right=percent(model, self.dataset),
            teacher_s=seconds(self._context("teacher").folder / SECONDS),
            search_s=search_s if method == "tas" else None,
            training_s=time.process_time() - started,
        )

    def _found(self) -> tuple[Found, float]:
        """Search, or take what was found before."""
        context = self._context("tas", latency_ms=self.limit_ms)
        kept = context.folder / "tas.json"
        if not kept.is_file():
            with timed(context.folder / SECONDS):
                TasStage(TAS).run(self.artifacts, context)
        return read_json(Found, kept), seconds(context.folder / SECONDS)

    def _drawn(self, found: Found) -> ModelSpec:
        """Return a network drawn evenly from those at the limit, of the search's own candidates."""
        fitting = [spec for spec in self._below(found) if self._share(spec) >= 1 - found.tolerance]
        return fitting[np.random.default_rng(self.seed).integers(len(fitting))]

    def _likeliest(self, found: Found) -> ModelSpec:
        """Return the likeliest network that costs no more than the limit."""
        return next(self._below(found))

    def _below(self, found: Found) -> Iterator[ModelSpec]:
        """Yield the networks of a search that cost no more than its limit, by falling probability."""
        decided = (*found.widths, *found.blocks)
        logs = [np.log(own.probabilities).tolist() for own in decided]
        for positions in by_probability(logs):
            chosen = [own.candidates[at] for own, at in zip(decided, positions, strict=True)]
            spec = ResNetShape(tuple(chosen[:STAGES]), tuple(chosen[STAGES:])).spec
            if self._share(spec) <= 1 + 1e-9:  # the control costs the limit, to the last bit but one
                yield spec

    def _cost(self, spec: ModelSpec) -> float:
        found = candidate("cost", spec, self.dataset.image_shape, self.dataset.classes)
        return self.judge.row("cost", found).latency.value

    def _share(self, spec: ModelSpec) -> float:
        """Return what a network is predicted to cost, of the limit."""
        return self._cost(spec) / self.limit_ms

    def _context(self, stage: str, **budget: float) -> Context:
        here = targets.load("host", machine.host_target())
        setting, own = SETTINGS[self.name], self.folder / self.name
        plain = {
            "model": _equal(WIDTH).plain(),
            "data": setting.data,
            "target": here.name,
            "budget": {"percentile": PERCENTILE, **(budget or {"latency_ratio": 1.0})},
            "stages": {
                "search": {"space_options": SPACE, "margin": 1.0},
                "teacher": setting.teacher.plain(),
                "tas": TAS.plain(),
                "distill": {},
            },
            "seed": self.seed,
        }
        at = own / stage if stage == "search" else own / f"{stage}-{self.seed}"
        recipe = Recipe.model_validate(plain)
        return Context(own, at, self.folder / "cache", recipe, here, origin_is_device=True)


def _equal(steps: int) -> ModelSpec:
    """Return the ResNet-8 of equal width in all stages, so many channel steps of this machine."""
    channels = steps * float_step(targets.load("host", machine.host_target()))
    return ResNetShape((channels,) * STAGES, (1,) * STAGES).spec


def table(rows: Sequence[Row]) -> Iterator[str]:
    """Yield the lines of a markdown table, and what the search cost."""
    by = {method: {row.seed: row for row in rows if row.method == method} for method in METHODS}
    yield "| network | seeds | predicted cost, of the limit | test, % | tas against it |"
    yield "|---|---|---|---|---|"
    for method, mine in by.items():
        if not mine:
            continue
        both = sorted(mine.keys() & by["tas"].keys())
        ahead = interval(np.array([by["tas"][seed].right - mine[seed].right for seed in both])) if both else ""
        cost, right = (np.mean([getattr(row, name) for row in mine.values()]) for name in ("cost", "right"))
        yield f"| {method} | {len(mine)} | {cost:.3f} | {right:.2f} | {'' if method == 'tas' else ahead} |"
    tas = list(by["tas"].values())
    if not tas:
        return
    yield ""
    yield from (f"seed {row.seed}: {row.network}, {row.cost:.3f} of the limit" for row in tas)
    yield f"the likeliest network was at the limit by itself in {sum(bool(row.landed) for row in tas)} of {len(tas)}"
    search, teacher = (np.mean([getattr(row, name) for row in tas]) for name in ("search_s", "teacher_s"))
    yield f"a search costs {search / teacher:.1f} trainings of the teacher"
    if by["uniform"]:  # the first training of a seed also asks the teacher
        student = np.mean([row.training_s for row in by["uniform"].values()])
        yield f"and {search / student:.1f} of the uniform student"


def main() -> None:
    """Make what rows are missing, print a table a data set."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where everything is kept")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first", type=int, default=0, help="seed")
    parser.add_argument("--datasets", default=",".join(SETTINGS), help="names, with commas")
    given = parser.parse_args()
    torch.set_num_threads(1)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that seconds are kept
    given.folder.mkdir(parents=True, exist_ok=True)
    kept = given.folder / "rows.jsonl"
    rows = rows_in(kept, Row)
    seeds = range(given.first, given.first + given.seeds)
    for dataset in given.datasets.split(","):
        for seed in seeds:
            done = {row.method for row in rows if (row.dataset, row.seed) == (dataset, seed)}
            if done >= set(METHODS):
                continue
            bench = Bench(dataset, seed, given.folder)
            for method in METHODS:
                if method not in done:
                    rows.append(bench.row(method))
                    print(f"  {rows[-1]}", flush=True)
                    add_row(rows[-1], kept)
        mine = [row for row in rows if row.dataset == dataset and row.seed in seeds]
        print(f"\n{dataset}, teacher {np.mean([row.teacher for row in mine]):.2f} %\n", *table(mine), sep="\n")


if __name__ == "__main__":
    main()
