"""A run small enough for a test: four classes of noisy images, each with one bright quadrant."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from edgekd import target as targets
from edgekd.artifact import ArtifactSet
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
