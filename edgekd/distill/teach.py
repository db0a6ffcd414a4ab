"""Training any network of a run under a teacher: used to distil, to recover after pruning and to quantize."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from edgekd.artifact import ArtifactSet
from edgekd.distill.column import Cut
from edgekd.distill.layer_map import Kind
from edgekd.distill.lesson import MOST_VIEWS, Lesson
from edgekd.distill.loss import create
from edgekd.distill.schedule import Perturbation
from edgekd.recipe import DataSpec
from edgekd.schema import Field, digest_of, model_validator
from edgekd.stage import Context
from edgekd.train.batches import Batches
from edgekd.train.loop import History, LoopConfig, train
from edgekd.train.optimizer import chosen


class StoreConfig(Cut):
    """What the teacher store keeps of the teacher's logits, and where."""

    url: str | None = Field(default=None, description="a folder or fsspec URL it lies at; absent: the user's cache")


class TeachConfig(LoopConfig):
    """How a student is taught."""

    # The one loss that beat both plain cross-entropy and logits-kl on images and on texts, and keeps the student
    # calibrated (docs/distillation.md); logits-kl beside it gained nothing.
    losses: dict[str, dict[str, Any]] = Field(
        default={"dist": {"weight": 0.3}},
        description="distillation losses and their options; none: labels only",
    )
    label_weight: float = Field(default=0.5, ge=0, le=1e6, description="factor of the cross-entropy with the labels")
    views: int | None = Field(
        default=None,
        ge=1,
        le=1000,
        description=f"augmented views the teacher is asked about; as many as epochs, at most {MOST_VIEWS}, when absent",
    )
    teachers: tuple[str, ...] = Field(
        default=("teacher",),
        min_length=1,
        description="teacher: the run's own; a network it has trained; or an .onnx file, a bundle, a saved network. "
        "Several teach with their mean probability",
    )
    taps: dict[Kind, tuple[tuple[str, str], ...]] = Field(
        default_factory=dict,
        description="features, attention, embedding: pairs of module paths in student and teacher, where a loss looks "
        "inside; found by resolution and depth when absent",
    )
    store: StoreConfig = Field(default_factory=StoreConfig, description="what is kept of the teacher's logits")

    @property
    def alone(self) -> TeachConfig:
        """Return how a student is taught, without what a stage has among its options besides."""
        return TeachConfig.model_validate({name: getattr(self, name) for name in TeachConfig.model_fields})

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
    spec: DataSpec | None = None,
    until: int | None = None,
    perturbation: Perturbation | None = None,
) -> History:
    """Train `model` in place on the run's data, or those of `spec`, under its teacher; without losses there is none.

    The teacher is asked once per augmented view, however often this is called. Called again in the same folder with a
    model of the same weights, the training goes on where it stopped; with other weights it begins anew. With `until` it
    stops after so many of its epochs, as `train` does. A `perturbation` disturbs the model in its steps alone.
    Raises UsageError for a wrong option, EdgekdError for a distillation loss that is dead.
    """
    lesson = Lesson(artifacts, context, config, spec or context.recipe.data)
    key = lesson.key(model)
    if perturbation is not None:
        key = digest_of([key, type(perturbation).__name__, perturbation.plain()])
    torch.manual_seed(context.recipe.seed)  # not what a dropout before it left: a resumed run has skipped that
    batches, objective = lesson.begin(model)
    if (objective.looks_inside or perturbation is not None) and config.compile != "never":
        config = config.replace(compile="never")  # a compiled network does not run its modules one by one
    if score is None and config.patience is not None:
        score = lesson.score
    disturbed = nullcontext() if perturbation is None else perturbation.applied(model, _one(batches))
    with disturbed:
        return train(
            model,
            batches,
            objective,
            config,
            folder=folder / key[:16],
            title=title,
            progress=context.progress,
            score=score,
            until=until,
        )


def _one(batches: Batches) -> Tensor:
    """Return one input (1, ...)."""
    return next(iter(batches.epoch(0))).inputs[:1]


def refuse_unknown(config: TeachConfig) -> None:
    """Raise UsageError for a loss, an optimizer or an option of theirs that does not exist, before any training."""
    create(config.losses)
    chosen(config)
