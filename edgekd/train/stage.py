"""The teacher: the user's weights, or trained once and kept in the cache."""

from __future__ import annotations

import logging
import math
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import nn

from edgekd.artifact import Artifact, ArtifactSet
from edgekd.disk import whole_folder
from edgekd.errors import EdgekdError, UsageError
from edgekd.figure import Figure
from edgekd.models.build import build, digest_of_layers
from edgekd.models.kernels import kernels, macs, parameters
from edgekd.schema import Field, digest_of
from edgekd.stage import Context, Stage
from edgekd.train import checkpoint
from edgekd.train.augment import augmentation
from edgekd.train.batches import AugmentedBatches, Batch
from edgekd.train.data import load, normalised, recorded
from edgekd.train.dataset import DataSet
from edgekd.train.judging import judged
from edgekd.train.loop import LoopConfig, Terms, train
from edgekd.train.optimizer import chosen
from edgekd.train.task import IGNORED, Task, task_called

log = logging.getLogger("edgekd")


class TeacherConfig(LoopConfig):
    """How the teacher is trained where the recipe names no weights."""

    epochs: int = Field(default=16, ge=1, le=100_000, description="passes over the training images")
    batch: int = Field(default=64, ge=2, le=65_536, description="images per step")
    label_smoothing: float = Field(default=0.0, ge=0, lt=1, description="share of the target spread over all classes")
    min_accuracy: float | None = Field(
        default=None, ge=0, le=100, description="percent on validation below which the run stops"
    )


class TeacherStage(Stage[TeacherConfig]):
    """Hands over the network everything else is held against.

    The weights named in the recipe are taken as they are. Otherwise the network is trained once, and kept in the cache
    under the digest of everything the training depends on.
    """

    name = "teacher"
    Config = TeacherConfig
    for_every_target = True

    def made_from(self, artifacts: ArtifactSet) -> list[Artifact]:
        """Return nothing: whatever a search has chosen before, the teacher is the same."""
        del artifacts
        return []

    def requires(self, artifacts: ArtifactSet, context: Context) -> None:
        """Refuse a model, data set or augmentation that does not work, before any training."""
        del artifacts
        data = load(context.recipe.data)
        augmentation(context.recipe.data)
        chosen(self.config)
        with torch.random.fork_rng(devices=[]):
            build(context.recipe.model, data.input_shape, data.classes)

    def run(self, artifacts: ArtifactSet, context: Context) -> ArtifactSet:
        """Return the artifacts with `teacher/fp32/torch` added."""
        data = load(context.recipe.data)
        saved = context.folder / "teacher"
        if context.recipe.model.weights is not None:
            model = build(context.recipe.model, data.input_shape, data.classes)
            self._save(model, saved, data, context)
        else:
            trained = self._trained(data, context)
            with whole_folder(saved) as unfinished:
                shutil.copytree(trained, unfinished, dirs_exist_ok=True)
            model = checkpoint.load(saved)
        figures = judged(model, data, context.origin_here)
        self._refuse_weak(next(f.value for f in figures if f.name == "accuracy_percent"), data)
        found = kernels(model, data.input_shape)
        artifact = context.store(
            saved,
            network="teacher",
            scheme="fp32",
            format="torch",
            made_by=self.name,
            figures=(
                *figures,
                Figure(name="parameters", value=parameters(model), origin="counted"),
                Figure(name="macs", value=macs(found), origin="counted"),
            ),
        )
        return artifacts.add(artifact)

    def _trained(self, data: DataSet, context: Context) -> Path:
        """Return the folder of the trained teacher in the cache."""
        place = context.cache / "teachers" / self._key(data, context)
        done = place / "checkpoint"
        if checkpoint.is_saved(done) and _still_fits(done):
            log.info("teacher: taken from the cache (%s)", place)
            return done
        recipe = context.recipe
        torch.manual_seed(recipe.seed)
        model = build(recipe.model, data.input_shape, data.classes)
        batches = AugmentedBatches(
            normalised(data.train, data),
            data.train.labels,
            batch=self.config.batch,
            augmentation=augmentation(recipe.data),
            seed=recipe.seed,
        )
        train(
            model,
            batches,
            partial(self._objective, task_called(data.task)),
            self.config,
            folder=place / "training",
            title="teacher",
            progress=context.progress,
        )
        self._save(model, done, data, context)
        return done

    def _objective(self, task: Task, model: nn.Module, batch: Batch) -> Terms:
        return Terms(task.loss(model(batch.inputs), batch.labels, self.config.label_smoothing))

    def _key(self, data: DataSet, context: Context) -> str:
        recipe = context.recipe
        drawn = {"name": recipe.data.augmentation, "options": recipe.data.augmentation_options}
        config = self.config.plain()
        del config["min_accuracy"]
        model = [recipe.model.plain(), digest_of_layers(recipe.model, data.input_shape, data.classes)]
        return digest_of([2, model, data.digest, data.input_shape, drawn, config, recipe.seed])[:32]

    def _save(self, model: nn.Module, folder: Path, data: DataSet, context: Context) -> None:
        probe = torch.from_numpy(recorded(data))
        checkpoint.save(model, folder, context.recipe.model, data.input_shape, data.classes, probe)

    def _refuse_weak(self, percent: float, data: DataSet) -> None:
        """Raise UsageError for a teacher that has nothing to teach."""
        every = data.validation.labels
        labels = every[every != IGNORED]
        guess = float(np.bincount(labels).max()) / len(labels)
        chance = 100 * (guess + 3 * math.sqrt(guess * (1 - guess) / len(labels)))
        limit = max(chance, self.config.min_accuracy or 0)
        if percent < limit or percent <= chance:
            reason = "no better than guessing" if percent <= chance else f"below min_accuracy ({limit:g} %)"
            raise UsageError(
                f"the teacher is right on {percent:.2f} % of validation, {reason}; "
                "check its weights and the data, or train longer (stages.teacher.epochs)"
            )


def _still_fits(saved: Path) -> bool:
    """Return whether a teacher in the cache can be loaded; one of older code is put away, and trained anew."""
    try:
        checkpoint.load(saved)
    except EdgekdError as error:
        log.warning("teacher: the one in the cache cannot be taken, so it is trained anew: %s", error)
        shutil.rmtree(saved.parent / "training", ignore_errors=True)  # first: a kill here must not let it go on
        shutil.rmtree(saved.parent)
        return False
    return True
