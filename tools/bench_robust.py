"""Does a second stage with a noisy latent make a student robust? Against plain distillation of as many epochs; paired.

    python -m tools.bench_robust FOLDER [--seeds 8] [--data clothes,mnist5k]

FOLDER keeps rows, a teacher for every data set and what it says of the images; what is there is not made again. A row
is one student under one schedule: what it gets right on the test images as they are, with noise on the latent (what its
classifier is given) and with noise on the images, at the ratios of SNR_DB; the noise is the same for every student, and
on images it is relative to the mean square of each after normalisation. All students of a seed begin with the same
weights and are trained for EPOCHS:

- `plain`: at one go, with the default losses;
- `again`: for FIRST epochs, and then for the others without noise: what the schedule brings alone, whose learning rate
  rises twice;
- `robust 20`, `10`, `0`: the same, the other epochs with noise of so many decibels on the latent.

Data are 4,000 images of Fashion-MNIST at 14 by 14 pixels, or mnist5k. Prints the tables of docs/distillation.md:
differences to `plain` with their 95 % interval (Student's t over seeds). One thread, about six minutes of one core for
both.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from edgekd import target as targets
from edgekd.artifact import ArtifactSet
from edgekd.distill.schedules.robust import noisy
from edgekd.distill.stage import DistillConfig, DistillStage
from edgekd.recipe import Recipe
from edgekd.stage import Context
from edgekd.train import checkpoint, data
from edgekd.train.dataset import DataSet
from edgekd.train.evaluate import accuracy, logits
from edgekd.train.stage import TeacherConfig, TeacherStage
from tools.bench_losses import interval
from tools.rows import add_row, rows_in
from tools.warm_start_tasks import clothes

DATA: dict[str, dict[str, Any]] = {
    "clothes": {
        "factory": "tools.bench_robust:small",
        "augmentation": "crop-flip",
        "augmentation_options": {"padding": 1},
    },
    "mnist5k": {"name": "mnist5k", "augmentation": "affine"},
}
MODEL = {"name": "resnet", "options": {"blocks": [1, 1, 1], "channels": [16, 32, 48]}}
STUDENT = {"name": "resnet", "options": {"blocks": [1, 1, 1], "channels": [4, 8, 16]}}
TEACHER = TeacherConfig(epochs=12, batch=64, learning_rate=0.1)
EPOCHS, FIRST = 9, 6
SNR_DB = (20, 10, 5, 0)
DRAWS, JUDGED = 3, 5000
"""Noises a test image is judged with, and test images at most."""


def _staged(snr_db: float | None) -> dict[str, Any]:
    options = {"snr_db": snr_db, "epochs": EPOCHS - FIRST}
    return {"epochs": FIRST, "schedule": "robust", "schedule_options": options}


METHODS: dict[str, dict[str, Any]] = {
    "plain": {"epochs": EPOCHS},
    "again": _staged(None),
    **{f"robust {snr_db}": _staged(snr_db) for snr_db in (20, 10, 0)},
}


@dataclass(frozen=True)
class Row:
    """One student; accuracies in percent of the test images, by what was done to them."""

    data: str
    method: str
    seed: int
    accuracy: dict[str, float]


def small() -> DataSet:
    """Return clothes at 14 by 14 pixels."""
    return clothes(4000)


def context_of(name: str, seed: int, folder: Path, stage: str) -> Context:
    """Return the context of a training; those of one folder share what the teacher says."""
    plain = {"budget": {"latency_ratio": 1.0}, "stages": {"teacher": TEACHER.plain()}, "seed": seed}
    recipe = Recipe.model_validate({"model": MODEL, "data": DATA[name], **plain})
    run = folder / name
    return Context(run, run / stage, folder / "cache", recipe, targets.load("x86-avx2"), origin_is_device=False)


def trained(name: str, seed: int, methods: Sequence[str], folder: Path) -> Iterator[Row]:
    """Yield a row for each method; one that shares its first stage with another goes on from there."""
    artifacts = TeacherStage(TEACHER).run(ArtifactSet(), context_of(name, 0, folder, "teacher"))
    context = context_of(name, seed, folder, f"distill-{seed}")
    for method in methods:
        plain = {"batch": 64, "learning_rate": 0.1, "student": STUDENT, **METHODS[method]}
        stage = DistillStage(DistillConfig.model_validate(plain))
        stage.requires(artifacts, context)
        student = stage.run(artifacts, context).newest(network="distilled")
        model = checkpoint.load(context.path(student))
        yield Row(name, method, seed, judged(model, data.load(context.recipe.data)))


def judged(model: nn.Module, dataset: DataSet) -> dict[str, float]:
    """Return the accuracy on clean test images, and the mean over DRAWS under noise of the latent and of the images."""
    test = dataset.test.take(np.arange(min(JUDGED, len(dataset.test))))
    images = data.normalised(test, dataset)
    found = {"clean": accuracy(logits(model, images), test.labels)}
    head = model.get_submodule("head")
    for snr_db in SNR_DB:

        def disturbed(module: nn.Module, given: tuple[Tensor], snr_db: float = snr_db) -> tuple[Tensor]:
            del module
            return (noisy(given[0], snr_db),)

        torch.manual_seed(snr_db)
        hook = head.register_forward_pre_hook(disturbed)
        right = [accuracy(logits(model, images), test.labels) for _ in range(DRAWS)]
        hook.remove()
        found[f"latent {snr_db} dB"] = float(np.mean(right))
        spoiled = [noisy(torch.from_numpy(images), snr_db).numpy() for _ in range(DRAWS)]
        found[f"image {snr_db} dB"] = float(np.mean([accuracy(logits(model, seen), test.labels) for seen in spoiled]))
    return found


def table(rows: Sequence[Row]) -> Iterator[str]:
    """Yield the lines of a markdown table: a line a disturbance, what plain gets right, what others have more."""
    by = {name: {row.seed: row.accuracy for row in rows if row.method == name} for name in METHODS}
    others = [name for name in METHODS if name != "plain"]
    yield f"| test images | plain, % | {' | '.join(others)} |"
    yield f"| --- |{' --- |' * len(METHODS)}"
    kinds = ["clean", *(f"{what} {snr_db} dB" for what in ("latent", "image") for snr_db in SNR_DB)]
    for kind in kinds:
        plain = {seed: found[kind] for seed, found in by["plain"].items()}
        more = [np.array([f[kind] - plain[seed] for seed, f in by[name].items() if seed in plain]) for name in others]
        yield f"| {kind} | {np.mean(list(plain.values())):.2f} | {' | '.join(map(interval, more))} |"


def main() -> None:
    """Train what is missing, print a table a data set."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where everything is kept")
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--data", default="clothes,mnist5k", help=f"names, with commas: {', '.join(DATA)}")
    given = parser.parse_args()
    torch.set_num_threads(1)
    given.folder.mkdir(parents=True, exist_ok=True)
    kept = given.folder / "rows.jsonl"
    rows = rows_in(kept, Row)
    for name in given.data.split(","):
        for seed in range(given.seeds):
            done = {row.method for row in rows if (row.data, row.seed) == (name, seed)}
            missing = [method for method in METHODS if method not in done]
            for row in trained(name, seed, missing, given.folder) if missing else ():
                rows.append(row)
                print(row, flush=True)
                add_row(row, kept)
        print(f"\n{name}", *table([row for row in rows if row.data == name]), sep="\n")


if __name__ == "__main__":
    main()
