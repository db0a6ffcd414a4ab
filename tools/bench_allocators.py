"""Which choice of widths keeps more accuracy at the same measured latency? One network, cut by each; paired over seeds.

    python -m tools.bench_allocators FOLDER [--seeds 8] [--first 0] [--datasets fashion-mnist,mnist5k] [--processes 11]
        [--names latency,uniform,global-score,macs,random] [--until landed|recovered|measured]

A ResNet-8 of equal width in all stages, five of the target's channel steps, whose first layers therefore cost most and
whose last ones matter most, is trained once for every data set and seed. It is cut by every allocator, and by three
searches besides: `macs` is the latency allocator under a limit of multiplications, `macs-8` the same without the
target's channel step, which is knowledge of the device too: in multiples of eight, as mobile networks have them;
`random` draws networks within the limit and takes the one that is right most often straight after its cut. Widths rest
on what a user has: a profile of probes that the stage `search` measures here. The uniform control is cut to a share of
the whole network's measured latency, and everything else to what the control then costs: the cuts of all seeds are
built untrained and measured beside the control's, four times, and those whose mean costs most nearly as much are taken.
Then each is recovered alike under its teacher, so that all have cost equally much training; equal cuts of a seed are
recovered once. A row is one cut: accuracy on test images right after it and after the recovery. In the end all cuts are
measured anew in one interleaved series: the latencies of the table, and whether they are equal. Settings were tried out
on seeds from 100 on (--first), but for the share, which was 0.17 at first, and the recovery, which was five epochs at
first.
FOLDER keeps teachers, profile, predicted shares and rows, and what is there is not made again; --until stops early.
Prints a table for each data set, differences with their 95 % interval (Student's t over seeds). One thread; measuring
wants a quiet machine.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import nn

from edgekd import target as targets
from edgekd.artifact import ArtifactSet
from edgekd.distill.teach import TeachConfig, teach
from edgekd.measure import machine
from edgekd.measure.comparison import ratio_in_turns
from edgekd.models.kernels import kernels
from edgekd.models.residual import STAGES, ResNetShape
from edgekd.predict.features import step_of
from edgekd.prune import allocator, criterion
from edgekd.prune.allocator import ALLOCATORS
from edgekd.prune.cost import Cost, FilledMacs, PredictedLatency, channel_step, cost
from edgekd.prune.cut import Cut, Cutter, perform
from edgekd.prune.measured import WHOLE
from edgekd.prune.samples import Samples, renew_statistics
from edgekd.prune.trial import Prunable, prunable
from edgekd.quantize.drafts import Drafts, images_of
from edgekd.recipe import Recipe
from edgekd.search.stage import SearchConfig, SearchStage
from edgekd.stage import Context
from edgekd.target import Target
from edgekd.train import checkpoint, data
from edgekd.train.dataset import DataSet
from edgekd.train.evaluate import accuracy, logits
from edgekd.train.stage import TeacherConfig, TeacherStage
from tools.bench_losses import interval
from tools.random_widths import NEAR, RandomWidths
from tools.rows import add_row, rows_in


@dataclass(frozen=True)
class Setting:
    """A data set and how long networks see it."""

    data: dict[str, object]
    teacher: TeacherConfig
    recovery: TeachConfig


# After five epochs of recovery cuts are as good as their teacher, or half a point below: nothing is left to compare.
SETTINGS = {
    "fashion-mnist": Setting(
        {"name": "fashion-mnist", "options": {"train_size": 4000}, "augmentation": "crop-flip"},
        TeacherConfig(epochs=5, batch=64, learning_rate=0.1),
        TeachConfig(epochs=2, batch=64, learning_rate=0.05),
    ),
    "mnist5k": Setting(
        {"name": "mnist5k", "augmentation": "affine"},
        TeacherConfig(epochs=5, batch=64, learning_rate=0.1),
        TeachConfig(epochs=2, batch=64, learning_rate=0.05),
    ),
}
WIDTH = 5
"""Channel steps of the target."""
SHARE, MAX_RATIO = 0.24, 0.8
"""Of the whole network's latency, and the largest share of a group's channels that may go."""
CONTROL, OURS = "uniform", "latency"
MACS, MACS_8, RANDOM = "macs", "macs-8", "random"
DRAWN, JUDGING = 24, 500
"""Networks a random search draws, and validation images that judge them."""
SEEN = {"count": 256, "batch": 32}
JUDGED = 5000
"""Test images, or as many as there are."""
PERCENTILE, PROBES, PROCESSES, SERIES = 50, 8, 5, 4
_ALIKE = 0.003
"""Shares asked for that are the same cuts, or nearly."""


@dataclass(frozen=True)
class Row:
    """One cut; accuracies in percent of the test split."""

    dataset: str
    allocator: str
    seed: int
    widths: str
    teacher: float
    cut: float
    recovered: float

    @property
    def key(self) -> tuple[str, str, int, str]:
        """Return what was cut."""
        return self.dataset, self.allocator, self.seed, self.widths


@dataclass(frozen=True)
class Trained:
    """A teacher and all that is chosen from."""

    context: Context
    artifacts: ArtifactSet
    dataset: DataSet
    model: nn.Module
    found: Prunable
    cost: PredictedLatency
    step: int

    @cached_property
    def samples(self) -> Samples:
        """Return the images the criterion sees."""
        return Samples(self.dataset, **SEEN, seed=self.context.recipe.seed)

    @cached_property
    def whole(self) -> float:
        """Return the predicted latency of the whole network."""
        return self.cost.of(self.found.kernels.whole)

    @cached_property
    def right(self) -> float:
        """Return the teacher's accuracy in percent."""
        return percent(self.model, self.dataset)

    def chooser(self, name: str) -> Callable[[float], Cut]:
        """Return what gives for a predicted share, of latency or of multiplications, the channels that stay."""
        limited: Cost = FilledMacs(1) if name in {MACS, MACS_8} else self.cost
        step = 8 if name == MACS_8 else self.step
        named = allocator.create(name if name in ALLOCATORS.names() else OURS, {})
        cutter = Cutter(criterion.create("taylor", {}), named, self.samples, limited, step)
        floors = allocator.floors(self.found.widths, MAX_RATIO, step)
        if name == RANDOM:
            return self._random(cutter.scores(self.model, self.found), floors)
        within, whole = cutter.chooser(self.model, self.found, floors), limited.of(self.found.kernels.whole)
        return lambda share: within(share * whole)

    def _random(self, scores: Mapping[str, torch.Tensor], floors: Mapping[str, int]) -> RandomWidths:
        seen = self.dataset.validation.take(np.arange(JUDGING))

        def right(cut: Cut) -> float:
            network = perform(self.model, self.found, cut)
            renew_statistics(network, self.samples)
            return accuracy(logits(network, data.normalised(seen, self.dataset)), seen.labels)

        return RandomWidths(
            allocator.Problem(scores, floors, self.step, lambda _: 0.0, 0.0).ladders,
            lambda widths: self.cost.of(self.found.kernels.at(widths)) / self.whole,
            lambda widths: Cut(kept={name: allocator.kept(scores[name], width) for name, width in widths.items()}),
            right,
            self.context.recipe.seed,
            DRAWN,
        )


class Bench:
    """All of one data set."""

    def __init__(self, name: str, seeds: range, folder: Path, processes: int) -> None:
        self.name, self.seeds, self.folder, self.processes = name, seeds, folder / name, processes
        profile = SearchStage(SearchConfig(student="teacher", probes=PROBES, processes=PROCESSES))
        probes = profile.run(ArtifactSet(), self._context(seeds[0], folder, "search"))
        self.trained = [self._trained(seed, folder, probes) for seed in seeds]

    def cuts(self, names: Sequence[str]) -> dict[str, list[Cut]]:
        """Return by allocator the cut of every seed, all allocators' at the control's measured latency."""
        kept = self.folder / "shares.json"
        shares = json.loads(kept.read_text()) if kept.is_file() else {CONTROL: SHARE}
        found: dict[str, list[Cut]] = {}
        for name in (CONTROL, *(name for name in names if name != CONTROL)):
            choosers = [one.chooser(name) for one in self.trained]
            if name not in shares:
                shares[name] = self._landed(choosers, found[CONTROL], name)
                kept.write_text(json.dumps(shares, indent=1))
            found[name] = [within(shares[name]) for within in choosers]
        return found

    def _landed(self, choosers: Sequence[Callable[[float], Cut]], control: Sequence[Cut], name: str) -> float:
        """Return the predicted share at which the mean cut was measured to cost most nearly what the control's costs.

        Each series says by how much a prediction is off, and the next one goes by the mean of all: a line between two
        of them, as the stage draws it, would follow the noise of a machine that is not quiet. Where that asks for what
        was measured before, a series in the middle between those that cost too much and too little says more.
        """
        asked, off, seen = self._asked(choosers, self._predicted(control)), list[float](), dict[float, float]()
        for number in range(SERIES):
            cuts = [within(asked) for within in choosers]
            shares = self.measured([*cuts, *control], self.processes, f"landing {number}")
            seen[asked] = float(np.mean(shares[: len(cuts)]) / np.mean(shares[len(cuts) :]))
            print(f"  {self.name} {name}: asked for {asked:.4f}, costs {seen[asked]:.3f} of {CONTROL}", flush=True)
            off.append(seen[asked] / self._predicted(cuts))
            asked = self._asked(choosers, 1 / float(np.mean(off)))
            little = [share for share, ratio in seen.items() if ratio < 1]
            much = [share for share, ratio in seen.items() if ratio >= 1]
            if little and much and min(abs(asked - share) for share in seen) < _ALIKE:
                asked = (max(little) + min(much)) / 2
        return min(seen, key=lambda share: abs(seen[share] - 1))

    def _asked(self, choosers: Sequence[Callable[[float], Cut]], goal: float) -> float:
        """Return the largest share to ask for at which the cuts' mean is at most `goal`: widths go in steps."""
        if isinstance(choosers[0], RandomWidths):
            return goal * 2 / (1 + NEAR)
        low, high = goal / 4, 2 * goal
        for _ in range(12):
            middle = (low + high) / 2
            within = self._predicted([choose(middle) for choose in choosers]) <= goal
            low, high = (middle, high) if within else (low, middle)
        return low

    def _predicted(self, cuts: Sequence[Cut]) -> float:
        """Return the mean of the shares that the cuts, one of each seed, are predicted to cost."""
        pairs = zip(self.trained, cuts, strict=True)
        return float(np.mean([one.cost.of(one.found.kernels.at(cut.widths)) / one.whole for one, cut in pairs]))

    def recovered(self, name: str, seed: int, cut: Cut) -> Row:
        """Cut, recover and judge."""
        one = self.trained[self.seeds.index(seed)]
        network = perform(one.model, one.found, cut)
        renew_statistics(network, one.samples)
        before = percent(network, one.dataset)
        with tempfile.TemporaryDirectory() as scratch:
            teach(network, one.artifacts, one.context, SETTINGS[self.name].recovery, folder=Path(scratch), title=name)
        return Row(self.name, name, seed, _key(cut), one.right, before, percent(network, one.dataset))

    def measured(self, cuts: Sequence[Cut], processes: int, title: str) -> list[float]:
        """Return what share of the whole network's measured latency is left after each cut, all in one series.

        Cuts of the same widths are one engine, of the scheme and runtime predicted to be the whole network's fastest.
        """
        first = self.trained[0]
        context = replace(first.context, folder=self.folder / "measured")
        scheme, runtime, _ = first.cost.predictor.best(first.found.kernels.whole, first.cost.schemes)
        drafts = Drafts(context, (scheme,), images_of(first.dataset))
        networks = {WHOLE: first.model, **{_key(cut): perform(first.model, first.found, _like(cut)) for cut in cuts}}
        engines = [
            engine
            for name, network in networks.items()
            for engine in drafts.built(network, name, scheme, kernels(network, first.dataset.input_shape))
            if engine.runtime == runtime
        ]
        told = hashlib.sha256(" ".join(networks).encode()).hexdigest()[:16]
        series = drafts.measured(engines, processes, f"{title}-{told}.jsonl", title)
        keys = {one.network: one.key for one in series.records}
        return [ratio_in_turns(series, keys[_key(cut)], keys[WHOLE]) for cut in cuts]

    def _context(self, seed: int, folder: Path, stage: str) -> Context:
        here = targets.load("host", machine.host_target())
        setting = SETTINGS[self.name]
        channels = WIDTH * float_step(here)
        plain = {
            "model": ResNetShape((channels,) * STAGES, (1,) * STAGES).spec.plain(),
            "data": setting.data,
            "target": here.name,
            "budget": {"latency_ratio": 1.0, "percentile": PERCENTILE},
            "stages": {"teacher": setting.teacher.plain(), "search": {}, "prune": {}},
            "seed": seed,
        }
        recipe = Recipe.model_validate(plain)
        return Context(self.folder, self.folder / stage, folder / "cache", recipe, here, origin_is_device=True)

    def _trained(self, seed: int, folder: Path, probes: ArtifactSet) -> Trained:
        context = self._context(seed, folder, f"teacher-{seed}")
        artifacts = TeacherStage(SETTINGS[self.name].teacher).run(probes, context)
        model = checkpoint.load(context.path(artifacts.newest(network="teacher")))
        dataset, step = data.load(context.recipe.data), channel_step(context)
        predicted = cost(artifacts, context, step)
        if not isinstance(predicted, PredictedLatency):
            raise SystemExit("the probes that widths rest on were not measured")
        found = prunable(model, dataset.input_shape)
        return Trained(context, artifacts, dataset, model, found, predicted, step)


def float_step(target: Target) -> int:
    """Return the channel step of a target's float arithmetic, the widest where there are several."""
    return max(step_of(target, scheme) for scheme in target.float_schemes())


def _like(cut: Cut) -> Cut:
    """Return a cut to the same widths that takes the last channels: an engine's latency does not depend on which."""
    return Cut(kept={name: tuple(range(width)) for name, width in cut.widths.items()})


def _key(cut: Cut) -> str:
    return "cut-" + "-".join(str(width) for _, width in sorted(cut.widths.items()))


def percent(model: nn.Module, dataset: DataSet) -> float:
    """Return the accuracy on the first JUDGED images of the test split."""
    test = dataset.test.take(np.arange(min(JUDGED, len(dataset.test))))
    return accuracy(logits(model, data.normalised(test, dataset)), test.labels)


def table(rows: Sequence[Row], shares: Mapping[str, Sequence[float]]) -> Iterator[str]:
    """Yield the lines of a markdown table; `shares` are measured, of the whole network's latency, by allocator."""
    by = {name: {row.seed: row for row in rows if row.allocator == name} for name in shares}
    yield f"| allocator | measured share of the latency | after the cut, % | {OURS} against it | recovered, % | " + (
        f"{OURS} against it |"
    )
    yield "|---|---|---|---|---|---|"
    for name, mine in by.items():
        cells = [f"{np.mean(shares[name]):.3f} ± {np.std(shares[name]):.3f}"]
        for figure in ("cut", "recovered"):
            cells.append(f"{np.mean([getattr(row, figure) for row in mine.values()]):.2f}")
            both = sorted(by[OURS].keys() & mine.keys())
            ahead = np.array([getattr(by[OURS][s], figure) - getattr(mine[s], figure) for s in both])
            cells.append("" if name == OURS else interval(ahead))
        yield f"| {name} | {' | '.join(cells)} |"


def main() -> None:
    """Measure, cut and recover what is missing, print a table a data set."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where everything is kept")
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--first", type=int, default=0, help="seed")
    parser.add_argument("--datasets", default=",".join(SETTINGS), help="names, with commas")
    parser.add_argument(
        "--names", default=",".join((*ALLOCATORS.names(), MACS, MACS_8, RANDOM)), help="names, with commas"
    )
    parser.add_argument("--processes", type=int, default=11, help="of each engine; twice as many in the end")
    parser.add_argument("--until", choices=("landed", "recovered", "measured"), default="measured", help="what is last")
    given = parser.parse_args()
    torch.set_num_threads(1)
    given.folder.mkdir(parents=True, exist_ok=True)
    kept, names = given.folder / "rows.jsonl", given.names.split(",")
    rows = rows_in(kept, Row)
    seeds = range(given.first, given.first + given.seeds)
    for dataset in given.datasets.split(","):
        bench = Bench(dataset, seeds, given.folder, given.processes)
        cuts = bench.cuts(names)
        if given.until == "landed":
            continue
        wanted = {
            (dataset, name, seed, _key(cut)): cut for name in names for seed, cut in zip(seeds, cuts[name], strict=True)
        }
        for (_, name, seed, _), cut in wanted.items():
            if (dataset, name, seed, _key(cut)) not in {row.key for row in rows}:
                same = [row for row in rows if (row.dataset, row.seed, row.widths) == (dataset, seed, _key(cut))]
                rows.append(replace(same[0], allocator=name) if same else bench.recovered(name, seed, cut))
                print(f"  {rows[-1]}", flush=True)
                add_row(rows[-1], kept)
        if given.until == "recovered":
            continue
        flat = bench.measured([cut for name in names for cut in cuts[name]], 2 * given.processes, "in the end")
        shares = {name: flat[at * given.seeds : (at + 1) * given.seeds] for at, name in enumerate(names)}
        mine = [row for row in rows if row.key in wanted]
        print(f"\n{dataset}, teacher {np.mean([row.teacher for row in mine]):.2f} %\n", *table(mine, shares), sep="\n")


if __name__ == "__main__":
    main()
