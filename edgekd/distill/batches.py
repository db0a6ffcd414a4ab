"""Training batches with the teacher's stored answer beside each image."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from edgekd.distill.store import TeacherStore
from edgekd.train.augment import Augmentation
from edgekd.train.batches import Batch, order


class StoreBatches:
    """Replays the first `views` views of a teacher store over normalised images (N, C, H, W) and labels (N,).

    Epoch e shows view e modulo `views` in an order of its own, as AugmentedBatches would; full batches only.
    """

    def __init__(
        self,
        store: TeacherStore,
        images: Tensor,
        labels: Tensor,
        *,
        batch: int,
        augmentation: Augmentation,
        seed: int,
        views: int,
    ) -> None:
        self._store, self._images, self._labels, self._augmentation = store, images, labels, augmentation
        self._size, self._seed, self._views = min(batch, len(images)), seed, views

    def __len__(self) -> int:
        return len(self._images) // self._size

    def epoch(self, number: int) -> Iterator[Batch]:
        """Yield the batches of one epoch."""
        seeds, logits = self._store.view(number % self._views)
        for samples in order(self._seed, number, len(self._images), self._size):
            index = torch.from_numpy(samples)
            yield Batch(
                images=self._augmentation(self._images[index], torch.from_numpy(seeds[samples])),
                labels=self._labels[index],
                teacher_logits=torch.from_numpy(logits[samples].astype(np.float32)),
            )
