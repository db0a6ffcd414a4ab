"""Training any network of a run under the run's teacher: used to distil, to recover after pruning and to quantize."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from edgekd.artifact import Artifact, ArtifactSet
from edgekd.distill.batches import StoreBatches
from edgekd.distill.loss import create
from edgekd.distill.objective import DistillObjective
from edgekd.distill.store import Identity, TeacherStore
from edgekd.schema import Field, digest_of, model_validator
from edgekd.stage import Context
from edgekd.train import checkpoint, data
from edgekd.train.augment import augmentation
from edgekd.train.batches import AugmentedBatches, Batches
from edgekd.train.dataset import DataSet
from edgekd.train.loop import History, LoopConfig, train

MOST_VIEWS = 8
"""Views where a recipe names no number: variety enough for small data at a fraction of the training's cost."""


class TeachConfig(LoopConfig):
    """How a student is taught."""

    # Of a dozen mixtures on mnist5k this one gave the lowest validation loss for every seed tried; DIST is far the
    # largest term at tau = 4 and needs the small weight.
    losses: dict[str, dict[str, Any]] = Field(
        default={"dist": {"weight": 0.2}, "logits-kl": {"weight": 0.5}},
        description="distillation losses and their options; none: labels only",
    )
    label_weight: float = Field(default=0.5, ge=0, le=1e6, description="factor of the cross-entropy with the labels")
    views: int | None = Field(
        default=None,
        ge=1,
        le=1000,
        description=f"augmented views the teacher is asked about; as many as epochs, at most {MOST_VIEWS}, when absent",
    )

    @model_validator(mode="after")
    def _learns_something(self) -> Self:
        if not self.losses and self.label_weight == 0:
            raise ValueError("nothing to learn from: give a label_weight above 0 or name a distillation loss")
        return self


def teach(
    model: nn.Module,
    artifacts: ArtifactSet,
    context: Context,
    config: TeachConfig,
    *,
    folder: Path,
    title: str,
    score: Callable[[nn.Module], float] | None = None,
) -> History:
    """Train `model` in place on the run's data under its newest fp32 teacher; without losses there is no teacher.

    The teacher is asked once per augmented view, however often this is called. Called again in the same folder with a
    model of the same weights, the training goes on where it stopped; with other weights it begins anew.
    Raises UsageError for a wrong option, EdgekdError for a distillation loss that is dead.
    """
    objective = DistillObjective(create(config.losses), config.label_weight)
    dataset = data.load(context.recipe.data)
    teacher = artifacts.newest(network="teacher", scheme="fp32", written_as="torch") if config.losses else None
    torch.manual_seed(context.recipe.seed)  # not what a dropout before it left: a resumed run has skipped that
    batches = _batches(dataset, teacher, context, config)
    key = _key(model, dataset, teacher, context, config)
    return train(
        model, batches, objective, config, folder=folder / key[:16], title=title, progress=context.progress, score=score
    )


def _batches(dataset: DataSet, teacher: Artifact | None, context: Context, config: TeachConfig) -> Batches:
    recipe = context.recipe
    images, labels = data.normalised(dataset.train, dataset), dataset.train.labels
    augment = augmentation(recipe.data)
    if teacher is None:
        return AugmentedBatches(images, labels, batch=config.batch, augmentation=augment, seed=recipe.seed)
    identity = Identity(
        teacher=teacher.digest,
        data=dataset.digest,
        augmentation=recipe.data.augmentation,
        augmentation_options=recipe.data.augmentation_options,
        seed=recipe.seed,
        samples=len(labels),
    )
    store = TeacherStore(context.cache / "stores", identity)
    views = config.views or min(config.epochs, MOST_VIEWS)
    if store.missing(views):
        network = checkpoint.load(context.path(teacher))
        store.write(network, torch.from_numpy(images), augment, views, context.progress)
    return StoreBatches(
        store,
        torch.from_numpy(images),
        torch.from_numpy(labels),
        batch=config.batch,
        augmentation=augment,
        seed=recipe.seed,
        views=views,
    )


def _key(model: nn.Module, dataset: DataSet, teacher: Artifact | None, context: Context, config: TeachConfig) -> str:
    """Return the digest of everything a training depends on, so that none goes on from another's state."""
    weights = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        weights.update(name.encode())
        weights.update(_bytes(tensor))
    recipe = context.recipe
    spec = recipe.data.plain()
    facts = [weights.hexdigest(), dataset.digest, spec["augmentation"], spec["augmentation_options"], recipe.seed]
    return digest_of([*facts, teacher.digest if teacher else None, config.plain()])


def _bytes(tensor: Tensor) -> bytes:
    return tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes()
