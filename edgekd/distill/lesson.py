"""A lesson: the data a student is trained on, what its teacher says about them, and the losses between the two."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from edgekd.artifact import ArtifactSet
from edgekd.distill.batches import Kept, StoreBatches
from edgekd.distill.column import Column
from edgekd.distill.layer_map import KINDS, Pairs, pairs
from edgekd.distill.loss import Loss, create
from edgekd.distill.objective import DistillObjective
from edgekd.distill.reference import Named, named
from edgekd.distill.store import Identity, TeacherStore
from edgekd.errors import UsageError
from edgekd.recipe import DataSpec
from edgekd.schema import digest_of
from edgekd.stage import Context
from edgekd.train import data
from edgekd.train.answer import Answer
from edgekd.train.augment import augmentation
from edgekd.train.batches import AugmentedBatches, Batch, Batches
from edgekd.train.dataset import DataSet, Split
from edgekd.train.evaluate import logits
from edgekd.train.parallel import peers
from edgekd.train.task import task_called

if TYPE_CHECKING:
    from edgekd.distill.teach import TeachConfig

log = logging.getLogger("edgekd")

MOST_VIEWS = 8
"""Views where a recipe names no number: variety enough for small data at a fraction of the training's cost."""
_OF_EVERY_MODULE = frozenset(vars(nn.Module()))
_FIRST = np.arange(2)
"""Samples by which layers are paired."""


def with_labels_of(home: DataSet, other: DataSet, losses: dict[str, Loss], label_weight: float) -> DataSet:
    """Return other data for a network of the home data's task; their labels, where they mean something else, are void.

    Raises UsageError when the shapes differ, or when something would look at labels that mean something else.
    """
    if other.input_shape != home.input_shape:
        raise UsageError(
            f"data set '{other.name}' has inputs of shape {other.input_shape}, the network takes {home.input_shape}"
        )
    if (other.task, other.classes) == (home.task, home.classes):
        return other
    looking = [name for name, loss in losses.items() if loss.uses_labels]
    if label_weight or looking:
        raise UsageError(
            f"the labels of data set '{other.name}' are not those of '{home.name}'; set label_weight: 0"
            + (f" and leave out {', '.join(looking)}" if looking else "")
        )
    shape = other.train.inputs.shape[: 1 if home.task == "classification" else 2]
    void = Split(other.train.inputs, np.zeros(shape, np.int64))
    return replace(other, train=void, validation=home.validation, class_names=home.class_names, task=home.task)


class Lesson:
    """What a student of a run is trained on: its data, what the teacher says about them, and the losses."""

    def __init__(self, artifacts: ArtifactSet, context: Context, config: TeachConfig, spec: DataSpec) -> None:
        """Find out who teaches; raises UsageError for an unknown loss or teacher, or data that do not fit the run's."""
        self._context, self._config, self._spec = context, config, spec
        self._losses = create(config.losses)
        for name in (name for name, loss in self._losses.items() if loss.experimental):
            log.warning("loss '%s' is experimental: it has not beaten logits-kl; see docs/distillation.md", name)
        home = data.load(context.recipe.data)
        self._dataset = with_labels_of(home, data.load(spec), self._losses, config.label_weight)
        self._teacher = named(config.teachers, artifacts, context) if self._losses else None

    def begin(self, model: nn.Module, order_seed: int | None = None) -> tuple[Batches, DistillObjective]:
        """Return batches and objective for a student, once the teacher has said what is still missing.

        The batches come in the order of the run's seed where there is no `order_seed`.
        """
        config, task = self._config, task_called(self._dataset.task)
        beside = self._pairs(model)
        batches = self._batches(beside, self._context.recipe.seed if order_seed is None else order_seed)
        objective = DistillObjective(self._losses, config.label_weight, task, beside)
        for loss in self._losses.values():
            if loss.calibrates and (seen := self.on_validation()).teacher is not None:
                loss.calibrate(*task.rows(seen.teacher.logits, seen.labels))
        if self._losses:
            objective.prepare(model, next(iter(batches.epoch(0))), config.epochs * len(batches))
        return batches, objective

    def on_validation(self) -> Batch:
        """Return validation as one batch, not augmented, with the teacher's answer where there is a teacher."""
        validation = self._dataset.validation
        inputs = torch.from_numpy(data.normalised(validation, self._dataset))
        labels = torch.from_numpy(validation.labels)
        if self._teacher is None:
            return Batch(inputs, labels)
        teacher = self._teacher.teacher()
        answers = torch.cat([teacher(part, [""])[0] for part in torch.split(inputs, self._config.batch)])
        return Batch(inputs, labels, Answer(answers))

    def score(self, model: nn.Module) -> float:
        """Return how well a network does on validation."""
        validation = self._dataset.validation
        found = logits(model, data.normalised(validation, self._dataset))
        return task_called(self._dataset.task).score(found, validation.labels)

    def key(self, model: nn.Module) -> str:
        """Return the digest of everything a training depends on, so that none goes on from another's state.

        Layers count as well as weights: networks that differ in an activation, in their heads, or in how large an image
        they look at, begin with the same ones.
        """
        layers = [(path, type(part).__name__, _options(part)) for path, part in model.named_modules()]
        weights = hashlib.sha256()
        for name, tensor in model.state_dict().items():
            weights.update(name.encode())
            weights.update(_bytes(tensor))
        return digest_of([layers, weights.hexdigest(), *self._facts()])

    def setting(self) -> str:
        """Return the digest of everything a training depends on besides the network and its first weights."""
        return digest_of(self._facts())

    def _facts(self) -> list[object]:
        spec, told = self._spec.plain(), None if self._teacher is None else self._teacher.digest
        facts = [self._dataset.digest, spec["augmentation"], spec["augmentation_options"], self._context.recipe.seed]
        return [*facts, told, self._config.plain()]

    def _pairs(self, model: nn.Module) -> Pairs:
        """Return which layers of student and teacher the losses compare."""
        kinds = [kind for kind in KINDS if any(kind in loss.needs for loss in self._losses.values())]
        if not kinds or self._teacher is None:
            return {}
        seen = torch.from_numpy(data.normalised(self._dataset.train.take(_FIRST), self._dataset))
        return pairs(model, self._teacher.network(), seen, kinds, self._config.taps)

    def _batches(self, beside: Pairs, order_seed: int) -> Batches:
        """Return the training batches, with the teacher's answers where there is one."""
        config, dataset = self._config, self._dataset
        inputs, labels = data.normalised(dataset.train, dataset), dataset.train.labels
        augment = augmentation(self._spec)
        if self._teacher is None:
            return AugmentedBatches(inputs, labels, batch=config.batch, augmentation=augment, seed=order_seed)
        taps = [(kind, theirs) for kind in KINDS for _, theirs in beside.get(kind, ())]
        kept = Kept(
            Column(keep=config.store.keep, k=config.store.k, p=config.store.p),
            tuple(Column(source=path) for _, path in taps),
            [kind for kind, _ in taps],
        )
        store = TeacherStore(self._context.cache / "stores", self._identity(self._teacher), config.store.url)
        changes = self._spec.augmentation != "none"  # without, every view is the same
        views = config.views or min(config.epochs, MOST_VIEWS if changes else 1)
        eaten = torch.from_numpy(inputs)
        if peers().leads and store.missing(views, kept.columns):
            teacher = self._teacher.teacher()
            store.write(teacher, eaten, augment, views=views, columns=kept.columns, progress=self._context.progress)
        peers().wait()
        return StoreBatches(
            store,
            kept,
            eaten,
            torch.from_numpy(labels),
            batch=config.batch,
            augmentation=augment,
            seed=order_seed,
            views=views,
        )

    def _identity(self, teacher: Named) -> Identity:
        return Identity(
            teacher=teacher.digest,
            data=self._dataset.digest,
            augmentation=self._spec.augmentation,
            augmentation_options=self._spec.augmentation_options,
            seed=self._context.recipe.seed,
            samples=len(self._dataset.train),
        )


def _bytes(tensor: Tensor) -> bytes:
    return tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes()


def _options(part: nn.Module) -> list[str]:
    """Return what a layer was made with, as far as it is numbers and words; not whether it is in training."""
    given = {name: own for name, own in vars(part).items() if name not in _OF_EVERY_MODULE and _is_plain(own)}
    return [f"{name}={own!r}" for name, own in sorted(given.items())]


def _is_plain(value: object) -> bool:
    return isinstance(value, bool | int | float | str) or (isinstance(value, tuple) and all(map(_is_plain, value)))
