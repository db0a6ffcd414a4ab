"""Batches: what a training loop is fed, the same for the same seed and epoch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgekd.errors import UsageError
from edgekd.train.answer import Answer
from edgekd.train.augment import Augmentation, seeds


@dataclass
class Batch:
    """What a network eats, images (B, C, H, W) float32 or tokens (B, T) int64, its labels, and the teacher's answer."""

    inputs: Tensor
    labels: Tensor
    """(B,) int64, or (B, T) where every position is decided."""
    teacher: Answer | None = None


class Batches(Protocol):
    """Feeds one epoch after the other."""

    def __len__(self) -> int:
        """Return the number of batches in an epoch, the same for every epoch."""

    def epoch(self, number: int) -> Iterator[Batch]:
        """Yield the batches of epoch `number`, counted from 0; a function of the seed and the number alone."""


class AugmentedBatches:
    """Labelled inputs, shuffled and augmented anew in every epoch.

    Sample i of epoch e is augmented by a seed derived from (seed, e, i). A last batch that would be smaller than the
    others is left out (its BatchNorm statistics would be the noisiest), other samples each epoch.
    """

    def __init__(
        self,
        inputs: NDArray[Any],
        labels: NDArray[np.int64],
        *,
        batch: int,
        augmentation: Augmentation,
        seed: int,
    ) -> None:
        if len(inputs) != len(labels) or len(inputs) == 0:
            raise UsageError(f"training needs as many labels as inputs, got {len(inputs)} inputs, {len(labels)} labels")
        self._inputs = torch.from_numpy(np.ascontiguousarray(inputs))
        self._labels = torch.from_numpy(np.ascontiguousarray(labels))
        self._size = min(batch, len(labels))
        self._augmentation = augmentation
        self._seed = seed

    def __len__(self) -> int:
        return len(self._labels) // self._size

    def epoch(self, number: int) -> Iterator[Batch]:
        """Yield the batches of one epoch."""
        for samples in order(self._seed, number, len(self._labels), self._size):
            index = torch.from_numpy(samples)
            inputs = self._augmentation(self._inputs[index], seeds(self._seed, number, samples))
            yield Batch(inputs, self._labels[index])


def order(seed: int, epoch: int, samples: int, batch: int) -> Iterator[NDArray[np.int64]]:
    """Yield the sample indices of each full batch of one epoch, shuffled."""
    shuffled = np.random.default_rng((seed, epoch)).permutation(samples)
    for start in range(0, samples - batch + 1, batch):
        yield shuffled[start : start + batch]
