"""Tasks for tools/bench_warm_start.py: searches whose every answer is known from a table."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekd import target as targets
from edgekd.artifact import ArtifactSet
from edgekd.measure import machine
from edgekd.models.kernels import macs
from edgekd.recipe import ModelSpec, Recipe
from edgekd.search.candidate import candidate
from edgekd.search.fitting import Fitting
from edgekd.search.prior import Prior
from edgekd.search.sampler import Grid, create
from edgekd.search.space import Axis, Point, points
from edgekd.search.stage import SearchConfig, SearchStage
from edgekd.search.trials import TrialsConfig, score_of
from edgekd.search.warm import warmed
from edgekd.stage import Context
from edgekd.target import Target
from edgekd.train.dataset import DATASETS, DataSet, Split, statistics
from edgekd.train.splits import balanced
from tests.predict import nas_bench_201

CHOSEN_ON = ("gold_6226", "raspi4", "eyeriss")
"""Devices on which the constants of the prior were chosen; they are in the bank, and no result is told of them."""
VARIANTS = ("plain", "inverted", "rotated", "five", "few", "digits")
WIDTHS = ((4, 8, 12, 16), (8, 16, 24), (8, 16, 32, 48))
BLOCKS = (1, 2)
"""In the second stage; the others have one."""
LIMIT = 0.5
"""Of the multiplications of the dearest network of `WIDTHS` and `BLOCKS`; what is dearer is not allowed."""
TEACHER = {"name": "resnet", "options": {"depth": 20, "channels": [32, 64, 96]}}
SPACE = {
    "space": "resnet-stages",
    "space_options": {"widths": [0.17, 0.34, 0.5, 0.67, 0.84, 1.0], "blocks": [1, 2, 3]},
    "margin": 1,
    "probes": 8,
    "processes": 3,
}
LATENCY_RATIO = 1 / 3
"""Of the teacher, which is the dearest network of `SPACE` around it; what is predicted to be dearer is not allowed."""
TRAINING = TrialsConfig(epochs=4, batch=32, learning_rate=0.1, losses={})
_IMAGES, _FEW, _JUDGED = 1000, 300, 4000


@dataclass(frozen=True)
class Task:
    """A search whose answers are known: what each allowed network costs, lower is better."""

    name: str
    axes: tuple[Axis, ...]
    costs: Mapping[Point, float]
    first: Point | None = None
    """The network that is tried first, as the stage `trials` does."""
    again: Mapping[Point, float] | None = None
    """What each network costs when it is trained again, the mean over other seeds; None where that is not known."""

    def searched(self, name: str, seed: int, count: int, earlier: Sequence[Mapping[Point, float]] = ()) -> list[Point]:
        """Return what a sampler looks at, begun from what networks cost in earlier tasks where there are any."""
        known = [{p: (cost,) for p, cost in rows.items() if p in self.costs} for rows in earlier]
        grid = Grid(self.axes, self.costs.__contains__)
        sampler, found = warmed(create(name, {}, grid, costs=1, seed=seed), Prior(grid, known), seed), list[Point]()
        if self.first is not None:
            found.append(self.first)
            sampler.tell(self.first, (self.costs[self.first],))
        while len(found) < count and (point := sampler.ask()) is not None:
            sampler.tell(point, (self.costs[point],))
            found.append(point)
        return found

    def rows(self, found: Sequence[Point]) -> dict[Point, float]:
        """Return what the bank would keep of a search."""
        return {point: self.costs[point] for point in found}


def cells(kind: str) -> list[Task]:
    """Return a task a device, on cells of NAS-Bench-201.

    `limit`: the highest NASWOT score among the 30 % of cells that are fastest on the device; a cell scores the same
    in every task. `fastest`: the fastest cell, as measured on the device, among the 10 % of highest score; every task
    has costs of its own.
    """
    devices, latencies = nas_bench_201.latencies()
    scores = nas_bench_201.naswot()
    axes = (Axis(len(nas_bench_201.OPERATORS), ordered=False),) * len(nas_bench_201.EDGES)
    written = [tuple(int(choice) for choice in cell) for cell in nas_bench_201.cells()]
    tasks = []
    for number, device in enumerate(devices):
        taken = latencies[:, number]
        if kind == "limit":
            allowed, costs = taken <= np.quantile(taken, 0.3), -scores
        else:
            allowed, costs = scores >= np.quantile(scores, 0.9), np.log(taken)
        tasks.append(Task(device, axes, {written[row]: float(costs[row]) for row in np.flatnonzero(allowed)}))
    return tasks


def images(folder: Path, *, largest_first: bool, again: int = 0) -> list[Task]:
    """Return a task a data set: every ResNet of a small space within the limit of multiplications."""
    axes = (*(Axis(len(widths)) for widths in WIDTHS), Axis(len(BLOCKS)))
    specs = {point: _network(point) for point in points(axes)}
    sizes = {p: macs(candidate("student", spec, (1, 14, 14), 10).kernels) for p, spec in specs.items()}
    allowed = sorted((p for p in specs if sizes[p] <= LIMIT * max(sizes.values())), key=lambda p: (sizes[p], p))
    return _trained(folder, axes, {p: specs[p] for p in allowed}, largest_first, again)


def budget(folder: Path, *, largest_first: bool, again: int) -> list[Task]:
    """Return a task a data set: every ResNet of the space `resnet-stages` within the limit of predicted latency.

    Predicted by probes that the stage `search` measures here, on the device; the folder keeps them.
    """
    own = folder / "budget"
    own.mkdir(parents=True, exist_ok=True)
    here, kept = targets.load("host", machine.host_target()), own / "probes.json"
    context = _context(own, "plain", 0, here, model=TEACHER, latency_ratio=LATENCY_RATIO, search=SPACE)
    search = SearchConfig.of(context.recipe)
    if not kept.is_file():
        kept.write_text(SearchStage(search).run(ArtifactSet(), context).model_dump_json())
    probes = ArtifactSet.model_validate_json(kept.read_text())
    fitting = Fitting(search.space_of(context), search.judge_from(probes, context), context)
    specs = {point: fitting.spec(point) for point in fitting.points}
    return _trained(own, fitting.grid.axes, specs, largest_first, again)


def _trained(
    folder: Path, axes: tuple[Axis, ...], specs: Mapping[Point, ModelSpec], largest_first: bool, again: int
) -> list[Task]:
    """Return a task a data set: validation error after a short training, in percent, of networks by growing cost.

    With `largest_first` the last of them is tried first, as the stage `trials` does before it asks any sampler.
    """

    def kept(kind: str, seeds: Sequence[int]) -> Trained:
        return Trained(folder, kind, specs, seeds)

    first, others = [*specs][-1] if largest_first else None, range(1, 1 + again)
    return [Task(kind, axes, kept(kind, (0,)), first, kept(kind, others) if again else None) for kind in VARIANTS]


class Trained(Mapping[Point, float]):
    """What networks cost: trained once a seed when they are asked for, as a trial of the stage `trials` is, and kept.

    The mean over the seeds; a file a task and seed.
    """

    def __init__(self, folder: Path, kind: str, specs: Mapping[Point, ModelSpec], seeds: Sequence[int]) -> None:
        self._specs, self._seeds = specs, seeds
        self._places = {seed: folder / (f"{kind}-{seed}.json" if seed else f"{kind}.json") for seed in seeds}
        self._known = {seed: json.loads(p.read_text()) if p.is_file() else {} for seed, p in self._places.items()}
        self._contexts = {seed: _context(folder, kind, seed, targets.load("x86-avx2")) for seed in seeds}

    def __getitem__(self, point: Point) -> float:
        """Return its error, in percent."""
        return float(np.mean([self._once(point, seed) for seed in self._seeds]))

    def __contains__(self, point: object) -> bool:
        """Say whether a network is allowed; none is trained for that."""
        return point in self._specs

    def __iter__(self) -> Iterator[Point]:
        """Yield the networks."""
        return iter(self._specs)

    def __len__(self) -> int:
        """Return how many networks there are."""
        return len(self._specs)

    def _once(self, point: Point, seed: int) -> float:
        name, known = ",".join(map(str, point)), self._known[seed]
        if name not in known:
            known[name] = score_of(self._specs[point], ArtifactSet(), self._contexts[seed], TRAINING).error_percent
            self._places[seed].write_text(json.dumps(known, indent=0))
        return float(known[name])


def variant(kind: str) -> DataSet:
    """Return one of `VARIANTS` at 14 by 14 pixels: clothes, clothes changed in one way, or digits."""
    if kind == "digits":
        return _smaller(_digits(), kind, _IMAGES)
    size = 2 * _IMAGES if kind == "five" else _IMAGES
    source = DATASETS.get("fashion-mnist")
    sizes = {"train_size": size, "validation_size": _JUDGED, "calibration_size": 100}
    loaded = source(source.Config.model_validate(sizes)).load()
    changes: dict[str, Any] = {"inverted": lambda x: 255 - x, "rotated": lambda x: np.rot90(x, axes=(2, 3))}
    if kind == "five":
        few: dict[str, Any] = {name: s.take(np.flatnonzero(s.labels < 5)) for name, s in loaded.splits.items()}
        loaded = replace(loaded, **few, class_names=loaded.class_names[:5])
    return _smaller(loaded, kind, _FEW if kind == "few" else _IMAGES, changes.get(kind, lambda x: x))


def clothes(images: int) -> DataSet:
    """Return so many training images of Fashion-MNIST, and its usual other splits, at 14 by 14 pixels."""
    source = DATASETS.get("fashion-mnist")
    return _smaller(source(source.Config.model_validate({"train_size": images})).load(), "clothes", images)


def _digits() -> DataSet:
    source = DATASETS.get("mnist5k")
    loaded = source(source.Config()).load()
    parts = loaded.validation, loaded.test
    judged = Split(np.concatenate([s.inputs for s in parts]), np.concatenate([s.labels for s in parts]))
    some = balanced(loaded.train.labels, (_IMAGES,), 0)[0]  # they lie in the order of their classes
    return replace(loaded, validation=judged, train=loaded.train.take(some))


def _smaller(loaded: DataSet, kind: str, images: int, change: Any = lambda x: x) -> DataSet:
    def pooled(split: Split) -> Split:
        n, c, h, w = split.inputs.shape
        means = change(split.inputs.reshape(n, c, h // 2, 2, w // 2, 2).mean(axis=(3, 5)).round())
        return Split(np.ascontiguousarray(means.astype(np.uint8)), split.labels)

    parts: dict[str, Any] = {name: pooled(split) for name, split in loaded.splits.items()}
    train = Split(parts["train"].inputs[:images], parts["train"].labels[:images])
    mean, std = statistics(train.inputs)
    return replace(loaded, name=f"images-{kind}", **{**parts, "train": train}, mean=mean, std=std)


def _network(point: Point) -> ModelSpec:
    widths = [choices[at] for choices, at in zip(WIDTHS, point[:3], strict=True)]
    return ModelSpec(name="resnet", options={"blocks": [1, BLOCKS[point[3]], 1], "channels": widths})


def _context(
    folder: Path,
    kind: str,
    seed: int,
    target: Target,
    *,
    model: Mapping[str, Any] | None = None,
    latency_ratio: float = 1.0,
    search: Mapping[str, Any] | None = None,
) -> Context:
    recipe = Recipe.model_validate(
        {
            "model": model or {"name": "resnet"},
            "data": {"factory": "tools.warm_start_tasks:variant", "options": {"kind": kind}},
            "target": target.name,
            "budget": {"latency_ratio": latency_ratio, "percentile": 50},
            "stages": {"search": search, "trials": {}} if search else {"trials": {}},
            "seed": seed,
        }
    )
    return Context(folder, folder / kind, folder / "cache", recipe, target, origin_is_device=target.name == "host")


def first_at(costs: NDArray[np.float64], quality: float) -> int:
    """Return after how many networks a search was as good as `quality`; one more than all where it never was."""
    reached = np.flatnonzero(costs <= quality)
    return int(reached[0]) + 1 if len(reached) else len(costs) + 1
