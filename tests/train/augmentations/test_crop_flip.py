"""Crops and mirrors by whole pixels."""

from __future__ import annotations

import numpy as np
import torch

from edgekd.train.augment import seeds
from edgekd.train.augmentations.crop_flip import CropFlip

SEEDS = seeds(0, 0, np.arange(500))


def test_every_move_and_mirror_occurs_and_nothing_else() -> None:
    image = torch.full((1, 1, 9, 11), -1.0)
    image[0, 0, 4, 5], image[0, 0, 4, 6] = 1.0, 2.0
    found = CropFlip(CropFlip.Config(padding=2))(image.expand(500, -1, -1, -1), SEEDS)
    outcomes = set()
    for picture in found[:, 0]:
        (row, column), (row_of_2, column_of_2) = (tuple((picture == v).nonzero()[0].tolist()) for v in (1.0, 2.0))
        assert (picture == -1).sum() == 9 * 11 - 2
        assert row == row_of_2
        outcomes.add((row - 4, column - 5, column_of_2 - column))
    assert outcomes == {(r, c, m) for r in range(-2, 3) for c in range(-2, 3) for m in (-1, 1)}


def test_what_was_not_seen_is_background_per_channel() -> None:
    images = torch.rand(500, 2, 8, 8) + torch.tensor([0.0, 5.0]).reshape(1, 2, 1, 1)
    found = CropFlip(CropFlip.Config(padding=4))(images, SEEDS)
    assert torch.equal(found.amin((2, 3)).ge(images.amin((2, 3))), torch.ones(500, 2, dtype=torch.bool))
    corner = found[:, :, 0, 0]
    assert (corner == images.amin((2, 3))).any(0).all()


def test_without_padding_and_flip_nothing_changes() -> None:
    images = torch.rand(500, 3, 6, 7)
    assert torch.equal(CropFlip(CropFlip.Config(padding=0, flip=False))(images, SEEDS), images)


def test_digits_are_not_mirrored_when_flip_is_off() -> None:
    ramp = torch.arange(8.0).expand(500, 1, 8, 8)
    found = CropFlip(CropFlip.Config(padding=0, flip=True))(ramp, SEEDS)
    mirrored = (found[:, 0, 0, 0] == 7).float().mean()
    assert 0.4 < mirrored < 0.6
    assert torch.equal(CropFlip(CropFlip.Config(padding=0, flip=False))(ramp, SEEDS), ramp)
