"""Contract suite: every built-in data set loads, or says what to do."""

from __future__ import annotations

import numpy as np
import pytest

from edgekd.errors import UsageError
from edgekd.recipe import DataSpec
from edgekd.train.data import load, normalised
from edgekd.train.dataset import DATASETS, Split


def rows(split: Split) -> set[bytes]:
    return {image.tobytes() for image in split.inputs}


@pytest.mark.parametrize("name", DATASETS.names())
def test_splits_are_disjoint_balanced_and_the_same_every_time(name: str) -> None:
    try:
        data = load(DataSpec(name=name))
    except UsageError as error:
        assert any(word in str(error) for word in ("pip install", "download: true"))  # noqa: PT017
        return
    assert data.name == name
    train, validation, test = rows(data.train), rows(data.validation), rows(data.test)
    # Real data holds a few images twice; a split that leaks holds many.
    assert len(train & test) + len(validation & test) + len(train & validation) < 0.001 * len(train)
    assert len(rows(data.calibration) & (validation | test)) == 0
    for split in data.splits.values() if data.task == "classification" else ():
        counts = np.bincount(split.labels, minlength=data.classes)
        assert counts.max() - counts.min() <= 1
    if not data.is_text:
        images = normalised(data.train, data)
        assert abs(float(images.mean())) < 0.01
        assert abs(float(images.std()) - 1) < 0.01
    again = DATASETS.get(name)(DATASETS.get(name).Config()).load()
    assert again.digest == data.digest
