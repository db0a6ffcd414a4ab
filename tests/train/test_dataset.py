"""A data set is known by its content."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from edgekd.train.dataset import Split, statistics
from tests.train.synthetic import quadrants


def test_digest_is_the_content() -> None:
    assert quadrants().digest == quadrants().digest
    assert quadrants().input_shape == (1, 12, 12)
    assert quadrants().classes == 4


@pytest.mark.parametrize("change", ["pixel", "label", "mean", "swap"])
def test_digest_sees_every_change(change: str) -> None:
    data = quadrants()
    images, labels = data.test.inputs.copy(), data.test.labels.copy()
    if change == "pixel":
        images[3, 0, 2, 2] += 1
    if change == "label":
        labels[0] = 3
    changed = dataclasses.replace(data, test=Split(images, labels))
    if change == "mean":
        changed = dataclasses.replace(changed, mean=(0.5,))
    if change == "swap":
        changed = dataclasses.replace(data, validation=data.test, test=data.validation)
    assert changed.digest != data.digest


def test_statistics_are_of_values_in_0_to_1() -> None:
    images = np.zeros((2, 2, 3, 3), np.uint8)
    images[1, 0] = 255
    assert statistics(images) == ((0.5, 0.0), (0.5, 0.001))
    assert statistics(images.astype(np.float32) / 255) == statistics(images)


def test_take_keeps_images_and_labels_together() -> None:
    data = quadrants().train
    taken = data.take(np.array([5, 2]))
    assert len(taken) == 2
    assert taken.labels.tolist() == [1, 2]
    assert np.array_equal(taken.inputs[0], data.inputs[5])
