"""Batches are a function of seed and epoch."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from edgekd.errors import UsageError
from edgekd.recipe import DataSpec
from edgekd.train.augment import augmentation, seeds
from edgekd.train.batches import AugmentedBatches

IMAGES = np.random.default_rng(0).standard_normal((50, 1, 8, 8)).astype(np.float32)
LABELS = np.arange(50, dtype=np.int64)


def batches(batch: int = 16, seed: int = 0, name: str = "crop-flip") -> AugmentedBatches:
    augment = augmentation(DataSpec(name="mnist5k", augmentation=name))
    return AugmentedBatches(IMAGES, LABELS, batch=batch, augmentation=augment, seed=seed)


def flat(source: AugmentedBatches, epoch: int) -> tuple[torch.Tensor, torch.Tensor]:
    found = list(source.epoch(epoch))
    assert len(found) == len(source)
    return torch.cat([batch.inputs for batch in found]), torch.cat([batch.labels for batch in found])


def test_an_epoch_can_be_taken_again_out_of_order() -> None:
    first = flat(batches(), 5)
    source = batches()
    flat(source, 0)
    again = flat(source, 5)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))


@pytest.mark.parametrize("other", [(0, 1), (1, 0)])
def test_epochs_and_seeds_differ_in_order_and_in_pictures(other: tuple[int, int]) -> None:
    (images, labels), (images_2, labels_2) = flat(batches(), 0), flat(batches(seed=other[0]), other[1])
    assert not torch.equal(labels, labels_2)
    shared = set(labels.tolist()) & set(labels_2.tolist())
    same = [torch.equal(images[labels == k], images_2[labels_2 == k]) for k in shared]
    assert sum(same) < len(same) / 4


def test_full_batches_only_and_no_sample_twice() -> None:
    source = batches(batch=16)
    found = list(source.epoch(0))
    assert [len(batch.labels) for batch in found] == [16, 16, 16]
    assert len(torch.unique(torch.cat([batch.labels for batch in found]))) == 48
    left_out = {tuple(sorted(set(range(50)) - set(flat(source, epoch)[1].tolist()))) for epoch in range(4)}
    assert len(left_out) > 1


def test_a_batch_larger_than_the_data_is_all_of_it() -> None:
    assert sorted(flat(batches(batch=500, name="none"), 0)[1].tolist()) == list(range(50))


def test_the_seed_of_a_sample_does_not_depend_on_the_batch_size() -> None:
    augment = augmentation(DataSpec(name="mnist5k", augmentation="crop-flip"))
    images, labels = flat(batches(batch=10), 3)
    expected = augment(torch.from_numpy(IMAGES), seeds(0, 3, np.arange(50)))
    assert torch.equal(images, expected[labels])


def test_images_without_labels_are_refused() -> None:
    augment = augmentation(DataSpec(name="mnist5k"))
    with pytest.raises(UsageError, match="50 inputs, 49 labels"):
        AugmentedBatches(IMAGES, LABELS[:-1], batch=4, augmentation=augment, seed=0)
