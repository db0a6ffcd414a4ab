"""Affine maps move what they should, and only that."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from edgekd.train.augment import seeds
from edgekd.train.augmentations.affine import Affine

OFF = {"degrees": 0.0, "scale": 0.0, "shear": 0.0, "shift": 0.0}
SEEDS = seeds(0, 0, np.arange(300))


def moved(image: Tensor, **strengths: float) -> Tensor:
    augment = Affine(Affine.Config(**{**OFF, **strengths}))
    return augment(image.expand(300, -1, -1, -1), SEEDS)


def blob(row: int, column: int, size: int = 29) -> Tensor:
    image = torch.full((1, 1, size, size), -1.0)
    image[0, 0, row - 1 : row + 2, column - 1 : column + 2] = 1.0
    return image


def centres(images: Tensor) -> Tensor:
    """Return the centre of brightness of each image as offsets from the middle, (N, 2) rows and columns."""
    mass = images[:, 0] + 1
    place = torch.arange(images.shape[-1], dtype=torch.float32) - images.shape[-1] // 2
    total = mass.sum((1, 2))
    return torch.stack([(mass.sum(2) * place).sum(1) / total, (mass.sum(1) * place).sum(1) / total], 1)


def test_zero_strengths_change_nothing() -> None:
    image = torch.randn(1, 3, 12, 20)
    torch.testing.assert_close(moved(image), image.expand(300, -1, -1, -1), atol=1e-5, rtol=0)


def test_shift_reaches_its_share_of_the_side_in_all_directions() -> None:
    offset = centres(moved(blob(14, 14), shift=0.2))
    for axis in (0, 1):
        assert 0.9 * 0.2 * 29 < offset[:, axis].max() <= 0.2 * 29 + 0.01
        assert -0.2 * 29 - 0.01 <= offset[:, axis].min() < -0.9 * 0.2 * 29


@pytest.mark.parametrize("shape", [(29, 29), (29, 41)])
def test_rotation_keeps_the_distance_and_reaches_its_angle(shape: tuple[int, int]) -> None:
    image = torch.full((1, 1, *shape), -1.0)
    row, column = shape[0] // 2, shape[1] // 2 + 9
    image[0, 0, row - 1 : row + 2, column - 1 : column + 2] = 1.0
    mass = moved(image, degrees=30)[:, 0] + 1
    rows = (mass.sum(2) * (torch.arange(shape[0]) - shape[0] // 2)).sum(1) / mass.sum((1, 2))
    columns = (mass.sum(1) * (torch.arange(shape[1]) - shape[1] // 2)).sum(1) / mass.sum((1, 2))
    torch.testing.assert_close((rows**2 + columns**2).sqrt(), torch.full((300,), 9.0), atol=0.25, rtol=0)
    angles = torch.atan2(rows, columns).rad2deg()
    assert 27 < angles.max() < 31.5
    assert -31.5 < angles.min() < -27


def test_scale_makes_larger_and_smaller_about_the_middle() -> None:
    square = torch.full((1, 1, 29, 29), -1.0)
    square[0, 0, 9:20, 9:20] = 1.0
    images = moved(square, scale=0.2)
    share = (images + 1).sum((1, 2, 3)) / (square + 1).sum()
    assert 1.2 < share.max() < 1.44 + 0.05
    assert 0.64 - 0.05 < share.min() < 0.85
    torch.testing.assert_close(centres(images), torch.zeros(300, 2), atol=0.1, rtol=0)


def test_shear_slants_top_and_bottom_to_opposite_sides() -> None:
    top, bottom = (centres(moved(blob(row, 14), shear=0.3))[:, 1] for row in (6, 22))
    torch.testing.assert_close(top, -bottom, atol=0.1, rtol=0)
    assert 0.27 * 8 < top.max() < 0.31 * 8
