"""Which search finds the better network at the same latency and for the same training? Paired over seeds.

    python -m tools.bench_search FOLDER [--seeds 8] [--first 0] [--processes 11]

The teacher is a ResNet-14 of 32/48/48 channels, trained on 2,000 images of Fashion-MNIST, the space `resnet-stages`
around it: every stage has a width and a number of blocks of its own. The limit is what the same network of 16/32/32
channels is predicted to cost, by probes that the stage `search` measures here. Every method spends as many
multiply-accumulate operations on images: those of the supernet's training, and of FINAL epochs of the network found.

- `supernet`: the most accurate with shared weights that is predicted to fit; goes on with its part of them.
- `anew`: the same network from random weights. It shows what the choice alone is worth.
- `macs`: by the same shared weights, but limited by operations, not by milliseconds: the largest limit whose network is
  predicted to fit; goes on with its part of the weights.
- `random`: as many random networks that fit as the search's share pays for, two epochs each, and the best of them.
- `uniform`: 16/32/32 channels, whose predicted cost is the limit; the search's share is spent on more epochs.
- `largest`: that of most operations that fits, which the stage `search` takes; more epochs likewise.

All are trained under the teacher with the same losses. A row is one network: accuracy on 5,000 test images. In the end
all networks are measured in turns in one series, as share of the teacher's latency. FOLDER keeps everything, and what
is there is not made again. Prints a table, paired differences with their 95 % interval (Student's t over seeds), and
what the search cost against training every network it had to choose from. One thread.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from edgekd import target as targets
from edgekd.artifact import ArtifactSet
from edgekd.distill.teach import TeachConfig, teach
from edgekd.measure import machine
from edgekd.measure.comparison import ratio_in_turns
from edgekd.models.build import build
from edgekd.models.kernels import kernels
from edgekd.prune.measured import WHOLE
from edgekd.quantize.drafts import Drafts, images_of
from edgekd.recipe import ModelSpec, Recipe
from edgekd.schema import read_json
from edgekd.search.candidate import candidate
from edgekd.search.fitting import Fitting
from edgekd.search.space import Point
from edgekd.search.stage import SearchConfig, SearchStage
from edgekd.search.supernet.config import SupernetConfig
from edgekd.search.supernet.trained import Supernet
from edgekd.search.trials import TrialsConfig, TrialsStage
from edgekd.stage import Context
from edgekd.train import data
from edgekd.train.stage import TeacherConfig, TeacherStage
from tools.bench_allocators import percent
from tools.bench_losses import interval
from tools.rows import add_row, rows_in

MODEL = {"name": "resnet", "options": {"depth": 14, "channels": [32, 48, 48]}}
UNIFORM = ModelSpec(name="resnet", options={"depth": 14, "channels": [16, 32, 32]})
DATA = {"name": "fashion-mnist", "options": {"train_size": 2000}, "augmentation": "crop-flip"}
TEACHER = TeacherConfig(epochs=6, batch=64, learning_rate=0.1)
SUPERNET = SupernetConfig(epochs=6, batch=64, learning_rate=0.05, calibration=256)
FINAL = TeachConfig(epochs=5, batch=64, learning_rate=0.05)
TRIAL_EPOCHS = 2
METHODS = ("supernet", "anew", "macs", "random", "uniform", "largest")
PERCENTILE, PROBES, PROCESSES = 50, 8, 5


@dataclass(frozen=True)
class Row:
    """One network; accuracies in percent of the test images."""

    method: str
    seed: int
    spec: dict[str, object]
    teacher: float
    begun: float
    """Before the last training; 0 where it began at random."""
    found: float
    epochs: int
    """Of the last training."""
    looked_at: int
    """Networks that were compared by training or shared weights."""
    predicted: float
    """Latency, of the limit."""


class Bench:
    """One seed."""

    def __init__(self, folder: Path, seed: int, probes: ArtifactSet) -> None:
        self.seed = seed
        self.context = _context(folder, seed, f"seed-{seed}")
        self.artifacts = TeacherStage(TEACHER).run(probes, replace(self.context, folder=self.context.folder / "t"))
        self.dataset = data.load(self.context.recipe.data)
        search = SearchConfig.of(self.context.recipe)
        self.space = search.space_of(self.context)
        judge = search.judge_from(self.artifacts, self.context)
        free = Fitting(self.space, replace(judge, limit_ms=None), self.context)
        uniform = judge.row("uniform", candidate("uniform", UNIFORM, self.dataset.image_shape, self.dataset.classes))
        self.limit_ms = uniform.latency.value * (1 + 1e-9)
        self.fitting = Fitting(self.space, replace(judge, limit_ms=self.limit_ms, margin=1.0), self.context)
        self.points = free.affordable
        self.macs = {point: free.row(point).macs for point in self.points}
        self.latency = {point: free.row(point).latency.value for point in self.points}

    @property
    def images(self) -> int:
        """Return the images of an epoch."""
        return len(self.dataset.train)

    @property
    def spent(self) -> float:
        """Return the operations, one image forward each, that training the supernet takes on average."""
        all_of = list(self.macs.values())
        each = all_of[-1] + all_of[0] + SUPERNET.drawn * float(np.mean(all_of[1:-1]))
        return SUPERNET.epochs * self.images * each

    @property
    def share(self) -> float:
        """Return what the search costs of training every network that fits to the end."""
        whole = FINAL.epochs * self.images * sum(self.macs[point] for point in self.fitting.points)
        return self.spent / whole

    def row(self, method: str) -> Row:
        """Find a network, train it, judge it."""
        spec, epochs, looked = self._plain(method)
        if method in {"supernet", "macs"}:
            point, looked = self._by_shared_weights(method)
            network = self._supernet().network(point)
            spec = self.space.at(point)
        else:
            if method == "anew":
                point, looked = self._by_shared_weights("supernet")
                spec = self.space.at(point)
            elif method == "random":
                spec, looked = self._random()
            torch.manual_seed(self.seed)
            network = build(spec, self.dataset.input_shape, self.dataset.classes)
        begun = percent(network.eval(), self.dataset) if method in {"supernet", "macs"} else 0.0
        with tempfile.TemporaryDirectory() as scratch:
            config = FINAL.replace(epochs=epochs)
            teach(network, self.artifacts, self.context, config, folder=Path(scratch), title=method)
        teacher = self.artifacts.newest(network="teacher").figure("accuracy_percent")
        return Row(
            method,
            self.seed,
            spec.plain(),
            teacher.value if teacher else 0.0,
            begun,
            percent(network, self.dataset),
            epochs,
            looked,
            self._predicted(spec),
        )

    def _plain(self, method: str) -> tuple[ModelSpec, int, int]:
        """Return a network that takes no search, the epochs of its training, and that nothing was looked at."""
        spec = UNIFORM if method == "uniform" else self.space.at(self.fitting.points[-1])
        if method not in {"uniform", "largest"}:
            return spec, FINAL.epochs, 0
        found = candidate(method, spec, self.dataset.image_shape, self.dataset.classes)
        each = sum(kernel.macs for kernel in found.kernels)
        return spec, FINAL.epochs + round(self.spent / (self.images * each)), 0

    def _supernet(self) -> Supernet:
        return Supernet.of(self.space, self.points, SUPERNET, self.artifacts, self.context)

    def _by_shared_weights(self, method: str) -> tuple[Point, int]:
        """Return the most accurate network within the limit of latency, or of operations."""
        kept = self.context.folder / "errors.json"
        known: dict[str, float] = json.loads(kept.read_text()) if kept.is_file() else {}
        supernet = self._supernet()
        most = max(self.macs[point] for point in self.fitting.points)
        asked = self.fitting.points if method == "supernet" else [p for p in self.points if self.macs[p] <= most]
        for point in asked:
            if str(point) not in known:
                known[str(point)] = supernet.error_of(point)
        kept.write_text(json.dumps(known))

        def best(points: Sequence[Point]) -> Point:
            return min(points, key=lambda point: (known[str(point)], self.macs[point]))

        if method == "supernet":
            return best(asked), len(asked)
        by_macs = sorted(asked, key=self.macs.__getitem__)
        picks = [best(by_macs[: number + 1]) for number in range(len(by_macs))]
        return [pick for pick in picks if self.latency[pick] <= self.limit_ms][-1], len(asked)

    def _random(self) -> tuple[ModelSpec, int]:
        """Return the best of random trials that cost together what the supernet's training does."""
        each = TRIAL_EPOCHS * self.images * float(np.mean([self.macs[point] for point in self.fitting.points]))
        count = max(1, round(self.spent / each))
        given = {**FINAL.plain(), "epochs": TRIAL_EPOCHS, "count": count}
        ratio = self.limit_ms / self._teacher_ms()
        budget = self.context.recipe.budget.replace(latency_ratio=ratio)
        recipe = self.context.recipe.replace(budget=budget)
        run = replace(self.context, recipe=recipe, folder=self.context.folder / "random")
        run.folder.mkdir(exist_ok=True)
        done = TrialsStage(TrialsConfig.model_validate(given)).run(self.artifacts, run)
        return read_json(ModelSpec, run.path(done.newest(written_as="choice"))), count

    def _teacher_ms(self) -> float:
        """Return the latency that a limit as ratio goes by."""
        one = SearchConfig.of(self.context.recipe).judge_from(self.artifacts, self.context).limit_ms
        if one is None:
            raise SystemExit("the probes hold no latency of the teacher")
        return one

    def _predicted(self, spec: ModelSpec) -> float:
        judge = SearchConfig.of(self.context.recipe).judge_from(self.artifacts, self.context)
        found = candidate("found", spec, self.dataset.image_shape, self.dataset.classes)
        return judge.row("found", found).latency.value / self.limit_ms


def _context(folder: Path, seed: int, stage: str) -> Context:
    here = targets.load("host", machine.host_target())
    plain = {
        "model": MODEL,
        "data": DATA,
        "target": here.name,
        "budget": {"latency_ratio": 1.0, "percentile": PERCENTILE},
        "stages": {"teacher": TEACHER.plain(), "search": {"space": "resnet-stages", "margin": 1}, "distill": {}},
        "seed": seed,
    }
    own = folder / stage
    own.mkdir(parents=True, exist_ok=True)
    return Context(folder, own, folder / "cache", Recipe.model_validate(plain), here, origin_is_device=True)


def _probes(folder: Path) -> ArtifactSet:
    """Return what the stage `search` has measured, made once."""
    kept = folder / "probes.json"
    if not kept.is_file():
        stage = SearchStage(SearchConfig(space="resnet-stages", margin=1, probes=PROBES, processes=PROCESSES))
        kept.write_text(stage.run(ArtifactSet(), _context(folder, 0, "search")).model_dump_json())
    return ArtifactSet.model_validate_json(kept.read_text())


def measured(folder: Path, rows: Sequence[Row], processes: int) -> dict[str, float]:
    """Return by network, as JSON, its share of the teacher's measured latency, all in one series."""
    context = _context(folder, 0, "measured")
    dataset = data.load(context.recipe.data)
    scheme = context.target.float_schemes()[0]
    drafts = Drafts(context, (scheme,), images_of(dataset))
    specs = {json.dumps(row.spec, sort_keys=True): ModelSpec.model_validate(row.spec) for row in rows}
    names = {key: f"found-{number}" for number, key in enumerate(sorted(specs))}
    networks: dict[str, nn.Module] = {WHOLE: build(context.recipe.model, dataset.input_shape, dataset.classes)}
    networks |= {names[key]: build(spec, dataset.input_shape, dataset.classes) for key, spec in specs.items()}
    engines = [
        engine
        for name, network in networks.items()
        for engine in drafts.built(network.eval(), name, scheme, kernels(network, dataset.input_shape))
        if engine.runtime == "openvino"
    ]
    series = drafts.measured(engines, processes, f"final-{len(names)}.jsonl", "final")
    keys = {one.network: one.key for one in series.records}
    return {key: ratio_in_turns(series, keys[name], keys[WHOLE]) for key, name in names.items()}


def table(rows: Sequence[Row], shares: dict[str, float]) -> Iterator[str]:
    """Yield the lines of a markdown table."""
    yield "| network | predicted, of the limit | measured share | epochs | begun, % | test, % | supernet against it |"
    yield "|---|---|---|---|---|---|---|"
    by = {name: {row.seed: row for row in rows if row.method == name} for name in METHODS}
    for name, own in by.items():
        if not own:
            continue
        both = sorted(by["supernet"].keys() & own.keys())
        ahead = np.array([by["supernet"][seed].found - own[seed].found for seed in both])
        cells = [
            f"{np.mean([row.predicted for row in own.values()]):.3f}",
            f"{np.mean([shares.get(json.dumps(row.spec, sort_keys=True), np.nan) for row in own.values()]):.3f}",
            f"{np.mean([row.epochs for row in own.values()]):.0f}",
            f"{np.mean([row.begun for row in own.values()]):.2f}" if name in {"supernet", "macs"} else "",
            f"{np.mean([row.found for row in own.values()]):.2f}",
            "" if name == "supernet" or len(both) < 2 else interval(ahead),
        ]
        yield f"| {name} | {' | '.join(cells)} |"


def main() -> None:
    """Find and train what is missing, measure, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where everything is kept")
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--first", type=int, default=0, help="seed")
    parser.add_argument("--methods", default=",".join(METHODS), help="names, with commas")
    parser.add_argument("--processes", type=int, default=11, help="of each engine; 0: nothing is measured")
    given = parser.parse_args()
    torch.set_num_threads(1)
    given.folder.mkdir(parents=True, exist_ok=True)
    probes = _probes(given.folder)
    for seed in range(given.first, given.first + given.seeds):
        kept = given.folder / f"rows-{seed}.jsonl"
        known = {row.method for row in rows_in(kept, Row)}
        missing = [method for method in given.methods.split(",") if method not in known]
        if not missing:
            continue
        bench = Bench(given.folder, seed, probes)
        for method in missing:
            row = bench.row(method)
            print(row, flush=True)
            add_row(row, kept)
    rows = [row for file in sorted(given.folder.glob("rows-*.jsonl")) for row in rows_in(file, Row)]
    shares = measured(given.folder, rows, given.processes) if given.processes else {}
    print("\n".join(table(rows, shares)))
    one = Bench(given.folder, given.first, probes)
    count = len(one.fitting.points)
    print(
        f"the supernet's training costs {one.share:.2f} of training all {count} networks that fit as long as the last"
    )


if __name__ == "__main__":
    main()
