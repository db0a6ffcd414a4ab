"""Which distillation loss helps? The same student, trained on the same images, under every loss; paired over seeds.

    python -m tools.bench_losses fashion-mnist [--seeds 8] [--images 30000] [--methods none,logits-kl] [--rows FILE]

`fashion-mnist`, `python-topics` and `python-text` are the settings. A row is one training: accuracy and calibration
error on the test split, and the seconds of a step. Rows are kept in FILE, and those that are there are not trained
again. Prints the table of docs/distillation.md: differences to `none` and to `logits-kl` with their 95 % interval
(Student's t over seeds). Two trainings run at a time, a thread each; so seconds are told as a ratio, of medians over
all rows.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from scipy import stats

from edgekd import cache
from edgekd import target as targets
from edgekd.artifact import ArtifactSet
from edgekd.distill.lesson import Lesson
from edgekd.distill.loss import LOSSES
from edgekd.distill.teach import TeachConfig
from edgekd.models.build import build
from edgekd.recipe import ModelSpec, Recipe
from edgekd.stage import Context
from edgekd.train import data
from edgekd.train.calibration import ece
from edgekd.train.evaluate import accuracy, logits
from edgekd.train.loop import train
from edgekd.train.stage import TeacherStage
from edgekd.train.task import task_called
from tools.rows import add_row, rows_in


@dataclass(frozen=True)
class Setting:
    """Data, teacher, student, and how a student is trained."""

    data: dict[str, Any]
    model: dict[str, Any]
    teacher: dict[str, Any]
    student: ModelSpec
    loop: dict[str, Any]
    taps: dict[str, list[list[str]]]
    """The last layers before the classifier: maps of every resolution would be gigabytes."""

    @property
    def recipe(self) -> Recipe:
        """Return the recipe of the teacher."""
        plain = {"budget": {"latency_ratio": 1.0}, "stages": {"teacher": self.teacher}}
        return Recipe.model_validate({"model": self.model, "data": self.data, **plain})


SETTINGS = {
    "fashion-mnist": Setting(
        data={"name": "fashion-mnist", "augmentation": "crop-flip", "augmentation_options": {"padding": 2}},
        model={"name": "resnet", "options": {"blocks": [1, 2, 2], "channels": [32, 64, 144]}},
        teacher={"epochs": 11, "batch": 64, "learning_rate": 0.1},
        student=ModelSpec(name="resnet", options={"depth": 8, "channels": [8, 16, 32]}),
        loop={"batch": 64, "learning_rate": 0.1},
        taps={"features": [["blocks.2", "blocks.4"]]},
    ),
    "python-topics": Setting(
        data={"name": "python-topics", "options": {"tokens": 100}},
        model={"name": "text-encoder", "options": {"depth": 3, "width": 96}},
        teacher={"epochs": 25, "batch": 32, "learning_rate": 2e-3, "optimizer": "adamw", "weight_decay": 0.05},
        student=ModelSpec(name="text-encoder", options={"depth": 1, "width": 32, "heads": 2}),
        loop={"batch": 32, "learning_rate": 4e-3, "optimizer": "adamw", "weight_decay": 0.05},
        taps={
            "features": [["blocks.0", "blocks.2"]],
            "attention": [["blocks.0.attention.softmax", "blocks.2.attention.softmax"]],
        },
    ),
    "python-text": Setting(
        data={"name": "python-text", "options": {"tokens": 64}},
        model={"name": "causal-lm", "options": {"depth": 2, "width": 96}},
        teacher={"epochs": 12, "batch": 64, "learning_rate": 3e-3, "optimizer": "adamw", "weight_decay": 0.05},
        student=ModelSpec(name="causal-lm", options={"depth": 1, "width": 32, "heads": 2}),
        loop={"batch": 64, "learning_rate": 6e-3, "optimizer": "adamw", "weight_decay": 0.05},
        taps={
            "features": [["blocks.0", "blocks.1"]],
            "attention": [["blocks.0.attention.softmax", "blocks.1.attention.softmax"]],
        },
    ),
}


@dataclass(frozen=True)
class Method:
    """What a student is taught with."""

    losses: dict[str, dict[str, Any]] = field(default_factory=dict)
    label_weight: float = 0.5
    loop: dict[str, Any] = field(default_factory=dict)


def methods(setting: Setting) -> dict[str, Method]:
    """Return every method by name; weights bring each term to about the size of the cross-entropy.

    Losses that compare features or relations stand beside logits-kl, as their papers have them.
    """
    plain = {"logits-kl": {"weight": 0.5}}
    attention = {"attention": 1.0} if "attention" in setting.taps else {}
    found = {
        "none": Method(label_weight=1.0),
        "logits-kl": Method(plain),
        "dist + logits-kl": Method({"dist": {"weight": 0.2}, **plain}),
        "dkd": Method({"dkd": {"weight": 0.2}}),
        "dist": Method(dict(TeachConfig().losses), TeachConfig().label_weight),  # the default
        "featalign": Method({"featalign": {"weight": 0.5, **attention}}),
        "rkd": Method({**plain, "rkd": {"weight": 0.05}}),
        "bd-kd": Method({"bd-kd": {"weight": 0.5}}),
        "taid": Method({"taid": {"weight": 0.5}}),
        "first": Method({"first": {"weight": 0.5}}),
        "born-again": Method({"born-again": {"weight": 0.5}}),
        "msdcrd": Method({**plain, "msdcrd": {"weight": 0.2}}),
        "trg": Method({**plain, "trg": {"weight": 0.1}}),
    }
    faster = {"learning_rate": 3 * setting.loop["learning_rate"]}
    # A loss of several terms has a larger gradient, which is a larger learning rate: is that all it is?
    found |= {
        "none at 3x rate": Method(label_weight=1.0, loop=faster),
        "logits-kl at 3x rate": Method(plain, loop=faster),
    }
    if setting.loop.get("optimizer", "sgd") == "sgd":
        found["logits-kl + dot"] = Method(plain, loop={"optimizer": "dot"})
    missing = set(LOSSES.names()) - {name for method in found.values() for name in method.losses}
    if missing:
        raise SystemExit(f"no method of this benchmark uses {', '.join(sorted(missing))}; give it a line")
    return found


@dataclass(frozen=True)
class Row:
    """One training."""

    method: str
    seed: int
    images: int
    accuracy: float
    ece: float
    step_ms: float


def context_of(name: str, seed: int) -> Context:
    """Return the context of a setting's trainings; the seed is that of the student, the teacher's is 0."""
    recipe = SETTINGS[name].recipe.replace(seed=seed)
    folder = Path(tempfile.gettempdir()) / "edgekd-bench-losses"
    return Context(folder, folder / name, cache.folder(), recipe, targets.load("x86-avx2"), origin_is_device=False)


def taught(name: str) -> ArtifactSet:
    """Train the teacher, or take it from the cache."""
    stage = TeacherStage(TeacherStage.Config.model_validate(SETTINGS[name].teacher))
    return stage.run(ArtifactSet(), context_of(name, 0))


def trained(name: str, method_name: str, seed: int, images: int, artifacts: ArtifactSet) -> Row:
    """Train one student and judge it on the test split."""
    torch.set_num_threads(1)
    setting = SETTINGS[name]
    method, context = methods(setting)[method_name], context_of(name, 0)
    dataset = data.load(context.recipe.data)
    epochs = max(1, round(images / len(dataset.train)))
    config = TeachConfig.model_validate(
        {
            **setting.loop,
            **method.loop,
            "epochs": epochs,
            "losses": method.losses,
            "label_weight": method.label_weight,
            "taps": setting.taps,
        }
    )
    torch.manual_seed(seed)
    model = build(setting.student, dataset.input_shape, dataset.classes)
    batches, objective = Lesson(artifacts, context, config, context.recipe.data).begin(model, order_seed=seed)
    with tempfile.TemporaryDirectory() as folder:
        history = train(model, batches, objective, config, folder=Path(folder), title=method_name)
    said = torch.from_numpy(logits(model, data.normalised(dataset.test, dataset)))
    rows = task_called(dataset.task).rows(said, torch.from_numpy(dataset.test.labels))
    found, labels = (part.numpy() for part in rows)
    steps = epochs * len(batches)
    return Row(
        method_name, seed, history.images, accuracy(found, labels), ece(found, labels), 1e3 * history.seconds / steps
    )


def table(rows: list[Row], names: list[str]) -> Iterator[str]:
    """Yield the lines of a markdown table."""
    yield "| loss | accuracy, % | against none, points | against logits-kl, points | ECE | time of a step |"
    yield "|---|---|---|---|---|---|"
    by = {name: {row.seed: row for row in rows if row.method == name} for name in names}
    alone = median(row.step_ms for row in by["none"].values())
    for name in names:
        mine = by[name]
        mean = np.mean([row.accuracy for row in mine.values()])
        error = np.mean([row.ece for row in mine.values()])
        against = [_difference(mine, by[other]) if name != other else "" for other in ("none", "logits-kl")]
        pace = median(row.step_ms for row in mine.values()) / alone
        yield f"| {name} | {mean:.2f} | {against[0]} | {against[1]} | {error:.3f} | {pace:.2f} |"


def _difference(mine: dict[int, Row], theirs: dict[int, Row]) -> str:
    differences = np.array([mine[seed].accuracy - theirs[seed].accuracy for seed in mine if seed in theirs])
    return interval(differences)


def interval(differences: np.ndarray) -> str:
    """Return the mean over seeds with its 95 % interval; the mean alone of a single seed."""
    if len(differences) < 2:
        return f"{differences.mean():+.2f}"
    half = stats.t.ppf(0.975, len(differences) - 1) * differences.std(ddof=1) / np.sqrt(len(differences))
    return f"{differences.mean():+.2f} [{differences.mean() - half:+.2f}, {differences.mean() + half:+.2f}]"


def main() -> None:
    """Train what is missing, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("setting", choices=SETTINGS, nargs="?", default="fashion-mnist")
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--images", type=int, default=30_000, help="training images a student sees")
    parser.add_argument("--methods", help="names, with commas; all when absent")
    parser.add_argument("--rows", type=Path, help="a JSON file a line each row, read and added to")
    given = parser.parse_args()
    names = given.methods.split(",") if given.methods else list(methods(SETTINGS[given.setting]))
    rows = rows_in(given.rows, Row)
    rows = [row for row in rows if abs(row.images / given.images - 1) < 0.1]
    done = {(row.method, row.seed) for row in rows}
    artifacts = taught(given.setting)
    first = names[-1]
    trained(given.setting, first, 0, given.images, artifacts)  # fills the teacher store before two want to
    with ProcessPoolExecutor(2) as pool:
        wanted = [(name, seed) for seed in range(given.seeds) for name in names if (name, seed) not in done]
        jobs = [pool.submit(trained, given.setting, *job, given.images, artifacts) for job in wanted]
        for job in as_completed(jobs):
            row = job.result()
            rows.append(row)
            print(f"  {row.method} seed {row.seed}: {row.accuracy:.2f} %", flush=True)
            add_row(row, given.rows)
    print("\n".join(table(rows, [name for name in names if any(row.method == name for row in rows)])))


if __name__ == "__main__":
    main()
