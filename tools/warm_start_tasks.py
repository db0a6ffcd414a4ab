"""Tasks for tools/bench_warm_start.py: searches whose every answer is known from a table."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekd import target as targets
from edgekd.artifact import ArtifactSet
from edgekd.models.kernels import macs
from edgekd.recipe import ModelSpec, Recipe
from edgekd.search.candidate import candidate
from edgekd.search.prior import Prior
from edgekd.search.sampler import Grid, create
from edgekd.search.space import Axis, Point, points
from edgekd.search.trials import TrialsConfig, score_of
from edgekd.search.warm import warmed
from edgekd.stage import Context
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
"""Of the multiplications of the dearest network; what is dearer is not allowed."""
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
        cold = create(name, {}, Grid(self.axes, self.costs.__contains__), costs=1, seed=seed)
        sampler, found = warmed(cold, Prior(self.axes, known), seed), list[Point]()
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
    """Return a task a data set: validation error after a short training, in percent, of every ResNet within the limit.

    A network is trained once a task, as a trial of the stage `trials` is, and `again` times with other seeds; the
    folder keeps the scores. That stage tries the largest first, before it asks any sampler.
    """
    axes = (*(Axis(len(widths)) for widths in WIDTHS), Axis(len(BLOCKS)))
    specs = {point: _network(point) for point in points(axes)}
    sizes = {p: macs(candidate("student", spec, (1, 14, 14), 10).kernels) for p, spec in specs.items()}
    allowed = [p for p in specs if sizes[p] <= LIMIT * max(sizes.values())]
    first = max(allowed, key=lambda p: (sizes[p], p)) if largest_first else None
    tasks = []
    for kind in VARIANTS:
        once, *others = [_scores(folder, kind, seed, {p: specs[p] for p in allowed}) for seed in range(1 + again)]
        mean = {p: float(np.mean([one[p] for one in others])) for p in allowed} if others else None
        tasks.append(Task(kind, axes, once, first, mean))
    return tasks


def _scores(folder: Path, kind: str, seed: int, specs: Mapping[Point, ModelSpec]) -> dict[Point, float]:
    kept = folder / (f"{kind}-{seed}.json" if seed else f"{kind}.json")
    known: dict[str, float] = json.loads(kept.read_text()) if kept.is_file() else {}
    context, found = _context(folder, kind, seed), dict[Point, float]()
    for point, spec in specs.items():
        name = ",".join(map(str, point))
        if name not in known:
            known[name] = score_of(spec, ArtifactSet(), context, TRAINING).error_percent
        found[point] = known[name]
    kept.write_text(json.dumps(known, indent=0))
    return found


def variant(kind: str) -> DataSet:
    """Return one of `VARIANTS` at 14 by 14 pixels: clothes, clothes changed in one way, or digits."""
    if kind == "digits":
        return _smaller(_digits(), kind, _IMAGES)
    size = 2 * _IMAGES if kind == "five" else _IMAGES
    source = DATASETS.get("fashion-mnist")
    loaded = source(source.Config(train_size=size, validation_size=_JUDGED, calibration_size=100)).load()
    changes: dict[str, Any] = {"inverted": lambda x: 255 - x, "rotated": lambda x: np.rot90(x, axes=(2, 3))}
    if kind == "five":
        parts = {name: split.take(np.flatnonzero(split.labels < 5)) for name, split in loaded.splits.items()}
        loaded = replace(loaded, **parts, class_names=loaded.class_names[:5])
    return _smaller(loaded, kind, _FEW if kind == "few" else _IMAGES, changes.get(kind, lambda x: x))


def clothes(images: int) -> DataSet:
    """Return so many training images of Fashion-MNIST, and its usual other splits, at 14 by 14 pixels."""
    source = DATASETS.get("fashion-mnist")
    return _smaller(source(source.Config(train_size=images)).load(), "clothes", images)


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

    parts = {name: pooled(split) for name, split in loaded.splits.items()}
    train = Split(parts["train"].inputs[:images], parts["train"].labels[:images])
    mean, std = statistics(train.inputs)
    return replace(loaded, name=f"images-{kind}", **{**parts, "train": train}, mean=mean, std=std)


def _network(point: Point) -> ModelSpec:
    widths = [choices[at] for choices, at in zip(WIDTHS, point[:3], strict=True)]
    return ModelSpec(name="resnet", options={"blocks": [1, BLOCKS[point[3]], 1], "channels": widths})


def _context(folder: Path, kind: str, seed: int) -> Context:
    recipe = Recipe.model_validate(
        {
            "model": {"name": "resnet"},
            "data": {"factory": "tools.warm_start_tasks:variant", "options": {"kind": kind}},
            "budget": {"latency_ratio": 1.0},
            "stages": {"trials": {}},
            "seed": seed,
        }
    )
    return Context(folder, folder / kind, folder / "cache", recipe, targets.load("x86-avx2"), origin_is_device=False)


def first_at(costs: NDArray[np.float64], quality: float) -> int:
    """Return after how many networks a search was as good as `quality`; one more than all where it never was."""
    reached = np.flatnonzero(costs <= quality)
    return int(reached[0]) + 1 if len(reached) else len(costs) + 1
