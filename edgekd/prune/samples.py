"""The training images pruning looks at, and BatchNorm statistics that fit a network which has just lost channels."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import nn

from edgekd.train import data
from edgekd.train.dataset import DataSet
from edgekd.train.loop import Batch


class Samples:
    """Training images without augmentation, every class equally often, the same batches each time."""

    def __init__(self, dataset: DataSet, count: int, batch: int, seed: int) -> None:
        labels = dataset.train.labels
        fewest = int(np.bincount(labels, minlength=dataset.classes).min()) * dataset.classes
        chosen = data.balanced(labels, [min(count, fewest)], seed)[0]
        self._split = dataset.train.take(np.random.default_rng(seed).permutation(chosen))
        self._images = torch.from_numpy(data.normalised(self._split, dataset))
        self._labels = torch.from_numpy(self._split.labels)
        self._batch = batch

    def __iter__(self) -> Iterator[Batch]:
        """Yield all batches; the last may be smaller."""
        yield from self.of(self._batch)

    def of(self, batch: int) -> Iterator[Batch]:
        """Yield all batches of another size."""
        for images, labels in zip(torch.split(self._images, batch), torch.split(self._labels, batch), strict=True):
            yield Batch(images, labels)


def renew_statistics(model: nn.Module, samples: Samples, batch: int = 128) -> None:
    """Estimate mean and variance of every BatchNorm anew, in place (Li et al., EagleEye, 2020).

    A layer that has lost inputs gives values of another mean and variance than those stored; renewing them costs one
    forward pass and brings most of the accuracy back before any training.
    """
    norms = [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    norms = [norm for norm in norms if norm.track_running_stats]
    if not norms:
        return
    training, momenta = model.training, [norm.momentum for norm in norms]
    model.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain average over all batches
        norm.train()
    with torch.no_grad():
        for part in samples.of(batch):
            if len(part.labels) > 1:
                model(part.inputs)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    model.train(training)
