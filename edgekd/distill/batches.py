"""Training batches with the teacher's stored answer beside each sample."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from edgekd.distill.column import Column
from edgekd.distill.layer_map import Kind
from edgekd.distill.objective import answered
from edgekd.distill.store import TeacherStore
from edgekd.train.augment import Augmentation
from edgekd.train.batches import Batch, order


@dataclass(frozen=True)
class Kept:
    """What of a store an answer is made of: the column of the logits, and one for each tap."""

    logits: Column
    taps: tuple[Column, ...] = ()
    kinds: Sequence[Kind] = ()
    """Of each tap, what it is."""

    @property
    def columns(self) -> tuple[Column, ...]:
        """Return every column once."""
        return tuple(dict.fromkeys((self.logits, *self.taps)))


class StoreBatches:
    """Replays the first `views` views of a teacher store over what a network eats (N, ...) and labels (N, ...).

    Epoch e shows view e modulo `views` in an order of its own, as AugmentedBatches would; full batches only.
    """

    def __init__(
        self,
        store: TeacherStore,
        kept: Kept,
        inputs: Tensor,
        labels: Tensor,
        *,
        batch: int,
        augmentation: Augmentation,
        seed: int,
        views: int,
    ) -> None:
        self._store, self._kept, self._inputs, self._labels = store, kept, inputs, labels
        self._size, self._augmentation, self._seed, self._views = min(batch, len(inputs)), augmentation, seed, views

    def __len__(self) -> int:
        return len(self._inputs) // self._size

    def epoch(self, number: int) -> Iterator[Batch]:
        """Yield the batches of one epoch."""
        view = number % self._views
        seeds = self._store.seeds(view)
        for samples in order(self._seed, number, len(self._inputs), self._size):
            index = torch.from_numpy(samples)
            logits = self._store.answers(view, self._kept.logits, samples)
            tapped = [self._store.answers(view, column, samples) for column in self._kept.taps]
            yield Batch(
                inputs=self._augmentation(self._inputs[index], seeds[index]),
                labels=self._labels[index],
                teacher=answered(logits, self._kept.kinds, tapped),
            )
