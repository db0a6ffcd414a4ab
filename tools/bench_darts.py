"""Does KDL-DARTS find better cells than one cell everywhere, or than chance, at the same latency? Paired over seeds.

    python -m tools.bench_darts FOLDER [--seeds 2] [--first 0] [--dataset fashion-mnist] [--minutes 1000] [--measure]

A ResNet-8 is trained once for every seed. For each of four lambda2, cells are searched under it and, for the worth of
its knowledge in the search, with labels alone; alphas see the validation split. Held against the network that was
derived under the teacher: the network of one cell everywhere, of any width, whose predicted latency is nearest; and a
network of cells drawn at random whose predicted latency is at most the same and at least 0.85 of it. All are then
trained alike under the teacher, with weights of their own. A row is one network: its accuracy on test images. The cost
table rests on what a user has, a profile of probes that the stage `search` measures here; lambda2's unit is half-way
between the cheapest and the dearest network.
FOLDER keeps teachers, profile, searches and rows, and what is there is not made again; no row is begun after `minutes`.
With --measure the networks of all rows that are there are measured in one interleaved series, and a table is printed:
differences in points with their 95 % interval (Student's t over seeds). One thread; measuring wants a quiet machine.
"""

from __future__ import annotations

import argparse
import hashlib
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from edgekd import target as targets
from edgekd.artifact import ArtifactSet
from edgekd.distill.teach import TeachConfig, teach
from edgekd.measure import machine
from edgekd.measure.comparison import ratio_in_turns
from edgekd.models.build import build
from edgekd.profile import Profile
from edgekd.quantize.drafts import Drafts, images_of
from edgekd.recipe import ModelSpec, Recipe
from edgekd.schema import digest_of, read_json, write_json
from edgekd.search.candidate import Candidate, candidate, untrained
from edgekd.search.cells import CellSpace, Skeleton
from edgekd.search.choice import Judge
from edgekd.search.kdl_darts.config import KdlDartsConfig
from edgekd.search.kdl_darts.costs import CostTable, cost_table
from edgekd.search.kdl_darts.rounds import Search
from edgekd.search.stage import SearchConfig, SearchStage
from edgekd.stage import Context
from edgekd.train import data
from edgekd.train.dataset import DataSet
from edgekd.train.evaluate import accuracy, logits
from edgekd.train.stage import TeacherConfig, TeacherStage
from tools.bench_losses import interval
from tools.rows import add_row, rows_in

MODEL = {"name": "resnet", "options": {"depth": 8, "channels": [32, 32, 64]}}
DATA: dict[str, dict[str, Any]] = {
    "fashion-mnist": {"name": "fashion-mnist", "options": {"train_size": 4000}, "augmentation": "crop-flip"},
    "mnist5k": {"name": "mnist5k", "augmentation": "affine"},
}
ROWS = [{"channels": 16, "repeats": 2, "stride": 2}, {"channels": 32, "repeats": 3, "stride": 2}]
SPACE = {"stem": 16, "rows": ROWS, "head": 64, "expansions": [1, 4], "widths": [0.5, 1.0, 1.5, 2.0], "depths": [0.4, 1]}
SEARCH = SearchConfig(space="mobile-cells", space_options=SPACE, probes=7, processes=5)
TEACHER = TeacherConfig(epochs=5, batch=64, learning_rate=0.1)
CELLS = KdlDartsConfig(epochs=6, resting_epochs=1, batch=64, learning_rate=0.05, views=2, alpha_learning_rate=0.03)
FINAL = TeachConfig(epochs=6, batch=64, learning_rate=0.05, views=2)
WEIGHTS = (0.05, 0.3, 1.5, 8.0)
ARMS = {"kdl-darts": CELLS, "labels only": CELLS.replace(losses={})}
NEAR = 0.85
"""A network drawn at random costs at least this share of the one it is held against."""
JUDGED = 5000
"""Test images, or as many as there are."""


@dataclass(frozen=True)
class Row:
    """One network; accuracy in percent of the test split."""

    arm: str
    weight: float
    seed: int
    options: dict[str, Any]
    predicted_ms: float
    accuracy: float

    @property
    def spec(self) -> ModelSpec:
        """Return the network."""
        return ModelSpec(name="mobile-cells", options=self.options)


class Bench:
    """All of one data set."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name, self.folder = name, folder / name

    def context(self, seed: int, stage: str) -> Context:
        """Return the context of one stage of one seed."""
        here = targets.load("host", machine.host_target())
        plain = {
            "model": MODEL,
            "data": DATA[self.name],
            "target": here.name,
            "budget": {"latency_ratio": 1.0, "percentile": 50},
            "stages": {"teacher": TEACHER.plain(), "search": SEARCH.plain()},
            "seed": seed,
        }
        recipe = Recipe.model_validate(plain)
        return Context(self.folder, self.folder / stage, self.folder / "cache", recipe, here, origin_is_device=True)

    @cached_property
    def dataset(self) -> DataSet:
        """Return the data."""
        return data.load(self.context(0, "search").recipe.data)

    @cached_property
    def judge(self) -> Judge:
        """Return who predicts, by a profile that is measured once."""
        context, kept = self.context(0, "search"), self.folder / "profile.json"
        if not kept.is_file():
            found = SearchStage(SEARCH).run(ArtifactSet(), context).newest(network="probes", written_as="profile")
            write_json(read_json(Profile, context.path(found)), kept)
        return SEARCH.judge_of(read_json(Profile, kept), context)

    @cached_property
    def space(self) -> CellSpace:
        """Return the networks of one cell everywhere."""
        space = SEARCH.space_of(self.context(0, "search"))
        if not isinstance(space, CellSpace):
            raise SystemExit("the bench needs a space of cells")
        return space

    @cached_property
    def skeleton(self) -> Skeleton:
        """Return the edges at width 1."""
        return self.space.skeleton(1.0)

    @cached_property
    def costs(self) -> CostTable:
        """Return what operators cost."""
        return cost_table(self.skeleton, self.judge, self.dataset.image_shape, self.dataset.classes)

    @cached_property
    def uniform(self) -> list[tuple[float, ModelSpec]]:
        """Return the networks of one cell everywhere, each with its predicted latency."""
        return [(self.ms(spec), spec) for spec in self.space.choices()]

    @cached_property
    def aim_ms(self) -> float:
        """Return lambda2's unit."""
        dearest = self.costs.added.amax(2).sum(1) + self.costs.fixed
        return (self.ms(self.skeleton.spec(self.costs.cheapest())) + float(dearest.min())) / 2

    def sized(self, spec: ModelSpec) -> Candidate:
        """Return what is to be known about a network."""
        return candidate("network", spec, self.dataset.image_shape, self.dataset.classes)

    def ms(self, spec: ModelSpec) -> float:
        """Return the predicted latency of a network."""
        return self.judge.row("network", self.sized(spec)).latency.value

    def taught(self, seed: int) -> ArtifactSet:
        """Return the artifacts with the teacher of a seed."""
        return TeacherStage(TEACHER).run(ArtifactSet(), self.context(seed, f"teacher-{seed}"))

    def derived(self, arm: str, weight: float, seed: int) -> ModelSpec:
        """Return what a search finds."""
        context = self.context(seed, f"search-{seed}")
        search = Search(self.skeleton, self.costs, self.aim_ms, ARMS[arm], self.taught(seed), context)
        shares = search.round(0, weight)[-1].shares
        print(f"  {arm} {weight:g} {seed}:", *([f"{share:.2f}" for share in edge] for edge in shares), flush=True)
        return self.skeleton.spec(search.cells.chosen())

    def nearest(self, ms: float) -> ModelSpec:
        """Return the network of one cell everywhere whose predicted latency is nearest."""
        return min(self.uniform, key=lambda one: abs(one[0] - ms))[1]

    def drawn(self, ms: float, seed: int) -> ModelSpec:
        """Return a network of random cells at about that latency, the dearest of many where none is."""
        random, best = np.random.default_rng((seed, round(1e6 * ms))), (0.0, self.skeleton.spec(self.costs.cheapest()))
        for _ in range(500):
            spec = self.skeleton.spec([int(random.integers(len(edge.operators))) for edge in self.skeleton.edges])
            found = self.ms(spec)
            if NEAR * ms <= found <= ms:
                return spec
            best = max(best, (found, spec), key=lambda one: one[0] if one[0] <= ms else 0.0)
        return best[1]

    def row(self, arm: str, weight: float, seed: int, spec: ModelSpec, known: Sequence[Row]) -> Row:
        """Train a network and judge it; equal networks of a seed are trained once."""
        same = [row for row in known if row.seed == seed and row.spec == spec]
        right = same[0].accuracy if same else self._trained(spec, seed)
        return Row(arm, weight, seed, spec.options, self.ms(spec), right)

    def _trained(self, spec: ModelSpec, seed: int) -> float:
        context, told = self.context(seed, f"final-{seed}"), digest_of(spec.plain())[:16]
        torch.manual_seed(seed)
        model = build(spec, self.dataset.input_shape, self.dataset.classes)
        teach(model, self.taught(seed), context, FINAL, folder=context.folder / told, title=told)
        test = self.dataset.test.take(np.arange(min(JUDGED, len(self.dataset.test))))
        return accuracy(logits(model, data.normalised(test, self.dataset)), test.labels)

    def measured(self, rows: Sequence[Row], processes: int) -> dict[str, float]:
        """Return by options what share of the teacher's measured latency each network needs, all in one series."""
        networks = {"teacher": self.context(0, "measured").recipe.model}
        networks |= {_key(row): row.spec for row in rows}
        scheme, runtime, _ = self.judge.predictor.best(self.sized(rows[0].spec).kernels, self.judge.schemes)
        drafts = Drafts(self.context(0, "measured"), (scheme,), images_of(self.dataset))
        engines = [
            engine
            for name, spec in networks.items()
            for engine in drafts.built(
                untrained(spec, self.dataset.image_shape, self.dataset.classes), name, scheme, self.sized(spec).kernels
            )
            if engine.runtime == runtime
        ]
        told = hashlib.sha256(" ".join(networks).encode()).hexdigest()[:16]
        series = drafts.measured(engines, processes, f"series-{told}.jsonl", "latency of all networks")
        keys = {record.network: record.key for record in series.records}
        return {name: ratio_in_turns(series, keys[name], keys["teacher"]) for name in networks if name != "teacher"}


def _key(row: Row) -> str:
    return f"cells-{digest_of(row.options)[:12]}"


def wanted(bench: Bench, seed: int, rows: Sequence[Row]) -> Iterator[tuple[str, float, ModelSpec]]:
    """Yield what is missing of a seed: arm, lambda2, network."""
    have = {(row.arm, row.weight): row for row in rows if row.seed == seed}
    for weight in WEIGHTS:
        found = have.get(("kdl-darts", weight))
        spec = found.spec if found else bench.derived("kdl-darts", weight, seed)
        if found is None:
            yield "kdl-darts", weight, spec
        ms = bench.ms(spec)
        if ("one cell", weight) not in have:
            yield "one cell", weight, bench.nearest(ms)
        if ("random cells", weight) not in have:
            yield "random cells", weight, bench.drawn(ms, seed)
    for weight in WEIGHTS:
        if ("labels only", weight) not in have:
            yield "labels only", weight, bench.derived("labels only", weight, seed)


def table(rows: Sequence[Row], shares: Mapping[str, float]) -> Iterator[str]:
    """Yield the lines of a markdown table, and what the teacher is worth in the search at equal latency."""
    yield "| lambda2 | seeds | predicted, ms | share of the teacher's latency | accuracy, % | one cell | random cells |"
    yield "| --- | ---: | ---: | ---: | ---: | ---: | ---: |"
    by = {(row.arm, row.weight, row.seed): row for row in rows}
    for weight in WEIGHTS:
        seeds = [s for s in sorted({row.seed for row in rows}) if ("random cells", weight, s) in by]
        if not seeds:
            continue
        mine = [by["kdl-darts", weight, seed] for seed in seeds]
        cells = []
        for arm in ("one cell", "random cells"):
            others = [by[arm, weight, seed] for seed in seeds]
            ahead = [one.accuracy - other.accuracy for one, other in zip(mine, others, strict=True)]
            cost = np.mean([shares[_key(other)] / shares[_key(one)] for one, other in zip(mine, others, strict=True)])
            cells.append(f"{interval(np.array(ahead))} at {cost:.2f} of the latency")
        share = np.mean([shares[_key(row)] for row in mine])
        yield (
            f"| {weight:g} | {len(seeds)} | {np.mean([row.predicted_ms for row in mine]):.4f} | {share:.3f} | "
            f"{np.mean([row.accuracy for row in mine]):.2f} | {cells[0]} | {cells[1]} |"
        )
    ahead = [gain for seed in {row.seed for row in rows} for gain in _ahead_of_labels(rows, shares, seed)]
    if ahead:
        yield f"\nahead of labels only, at equal latency: {np.mean(ahead):+.2f} points over {len(ahead)} networks"


def _ahead_of_labels(rows: Sequence[Row], shares: Mapping[str, float], seed: int) -> list[float]:
    """Return the points ahead of the line through networks found with labels only, where that line has been."""
    other = sorted({(shares[_key(row)], row.accuracy) for row in rows if (row.arm, row.seed) == ("labels only", seed)})
    if len(other) < 2:
        return []
    mine = [(shares[_key(row)], row.accuracy) for row in rows if (row.arm, row.seed) == ("kdl-darts", seed)]
    latencies, right = zip(*other, strict=True)
    inside = [(share, found) for share, found in mine if latencies[0] <= share <= latencies[-1]]
    return [found - float(np.interp(share, latencies, right)) for share, found in inside]


def main() -> None:
    """Make what rows are missing; measure and print the table where that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where everything is kept")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--first", type=int, default=0, help="seed")
    parser.add_argument("--dataset", choices=DATA, default="fashion-mnist")
    parser.add_argument("--minutes", type=float, default=1000.0, help="after which no row is begun")
    parser.add_argument("--measure", action="store_true", help="measure the networks of all rows, print the table")
    parser.add_argument("--processes", type=int, default=7, help="of each engine")
    given = parser.parse_args()
    torch.set_num_threads(1)
    began, bench = time.monotonic(), Bench(given.dataset, given.folder)
    bench.folder.mkdir(parents=True, exist_ok=True)
    kept = bench.folder / "rows.jsonl"
    rows = rows_in(kept, Row)
    for seed in range(given.first, given.first + given.seeds):
        if time.monotonic() - began >= 60 * given.minutes:
            break
        for arm, weight, spec in wanted(bench, seed, rows):
            rows.append(bench.row(arm, weight, seed, spec, rows))
            print(f"  {time.monotonic() - began:.0f} s {rows[-1]}", flush=True)
            add_row(rows[-1], kept)
            if time.monotonic() - began >= 60 * given.minutes:
                break
    if given.measure:
        print(*table(rows, bench.measured(rows, given.processes)), sep="\n")


if __name__ == "__main__":
    main()
