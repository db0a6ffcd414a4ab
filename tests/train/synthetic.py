"""A synthetic data set that a tiny network learns in a second: four classes of bright quadrants."""

from __future__ import annotations

import numpy as np

from edgekd.train.dataset import DataSet, Split, statistics


def split(samples: int, seed: int) -> Split:
    """Return noisy 12x12 images whose brightest quadrant is the class."""
    random = np.random.default_rng(seed)
    labels = np.arange(samples, dtype=np.int64) % 4
    images = random.integers(0, 120, (samples, 1, 12, 12)).astype(np.uint8)
    for image, label in zip(images, labels, strict=True):
        row, column = divmod(int(label), 2)
        image[0, 6 * row : 6 * row + 6, 6 * column : 6 * column + 6] += 60
    return Split(images, labels)


def quadrants(train: int = 96, name: str = "quadrants") -> DataSet:
    """Return the data set; also a factory for recipes."""
    first = split(train, 0)
    mean, std = statistics(first.inputs)
    return DataSet(name, first, split(64, 1), split(16, 2), split(64, 3), ("nw", "ne", "sw", "se"), mean, std)
