"""A run small enough for a test: four classes of noisy images, each with one bright quadrant."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekd import target as targets
from edgekd.artifact import ArtifactSet
from edgekd.distill.objective import DistillObjective
from edgekd.recipe import Recipe
from edgekd.stage import Context
from edgekd.train.dataset import DataSet, Split, statistics
from edgekd.train.stage import TeacherStage


def split(samples: int, seed: int) -> Split:
    random = np.random.default_rng(seed)
    labels = np.arange(samples, dtype=np.int64) % 4
    images = random.uniform(0, 160, (samples, 1, 12, 12))
    for image, label in zip(images, labels, strict=True):
        row, column = divmod(int(label), 2)
        image[0, 6 * row : 6 * row + 6, 6 * column : 6 * column + 6] += 60
    return Split(images.clip(0, 255).astype(np.uint8), labels)


def quadrants(samples: int = 256) -> DataSet:
    train = split(samples, 0)
    mean, std = statistics(train.inputs)
    names = ("nw", "ne", "sw", "se")
    return DataSet("quadrants", train, split(64, 1), split(32, 2), split(64, 3), names, mean, std)


def unlabelled() -> DataSet:
    """Other images of the same shape, whose two labels mean something else."""
    data = quadrants(128)
    parts = {name: Split(split.inputs, split.labels % 2) for name, split in data.splits.items()}
    return DataSet("unlabelled", **parts, class_names=("a", "b"), mean=data.mean, std=data.std)


def texts() -> DataSet:
    """Twenty tokens of six; the label says whether they are large on average."""

    def part(samples: int, seed: int) -> Split:
        tokens = np.random.default_rng(seed).integers(0, 6, (samples, 20))
        return Split(tokens, (tokens.mean(1) > 2.5).astype(np.int64))

    return DataSet("texts", part(256, 0), part(64, 1), part(32, 2), part(64, 3), ("small", "large"), (), ())


def next_tokens() -> DataSet:
    """Six tokens that count up, one step in four at random."""

    def part(samples: int, seed: int) -> Split:
        random = np.random.default_rng(seed)
        steps = np.where(random.random((samples, 21)) < 0.75, 1, random.integers(0, 6, (samples, 21)))
        tokens = np.cumsum(steps, 1) % 6
        return Split(tokens[:, :-1].copy(), tokens[:, 1:].copy())

    names = tuple("abcdef")
    parts = [part(256, 0), part(64, 1), part(32, 2), part(64, 3)]
    return DataSet("next-tokens", *parts, names, (), (), task="language-model")


def recipe(**changes: Any) -> Recipe:
    plain: dict[str, Any] = {
        "model": {"factory": "tests.models:ResidualCnn"},
        "data": {"factory": "tests.distill.tiny_run:quadrants"},
        "target": "x86-vnni",
        "budget": {"latency_ratio": 0.5},
        "stages": {"teacher": {}, "distill": {}},
    }
    return Recipe.model_validate({**plain, **changes})


def context(root: Path, stage: str = "distill", **changes: Any) -> Context:
    folder = root / "run" / "stages" / stage
    folder.mkdir(parents=True, exist_ok=True)
    return Context(
        run_folder=root / "run",
        folder=folder,
        cache=root / "cache",
        recipe=recipe(**changes),
        target=targets.load("x86-vnni"),
        origin_is_device=True,
    )


def with_teacher(root: Path, **changes: Any) -> ArtifactSet:
    """Return the artifacts of a run whose teacher is trained."""
    stage = TeacherStage(TeacherStage.Config(epochs=3, batch=32, learning_rate=0.05))
    return stage.run(ArtifactSet(), context(root, "teacher", **changes))


@contextmanager
def killed_in(step: int) -> Iterator[None]:
    """Kill what is taught inside in this of its steps; fails where it gets to its end."""
    original, calls = DistillObjective.forward, iter(range(100))

    def killed(self: DistillObjective, *given: Any) -> Any:
        if next(calls) == step:
            raise KeyboardInterrupt
        return original(self, *given)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DistillObjective, "forward", killed)
        with pytest.raises(KeyboardInterrupt):
            yield
