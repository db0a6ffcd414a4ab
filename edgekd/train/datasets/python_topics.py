"""Which topic of Python's interactive help 200 characters are from: ten classes, a text every Python has."""

from __future__ import annotations

import numpy as np

from edgekd.schema import Field, Schema
from edgekd.train.dataset import DataSet, Source, Split
from edgekd.train.python_text import topics, windows

_CLASSES = 10
_EACH = {"train": 300, "validation": 40, "test": 100}
_CALIBRATION = 20
_SEED = 311


class PythonTopics(Source):
    """Characters as tokens, every class equally often: train 3,000, validation 400, test 1,000 windows.

    Windows of one part overlap, those of different parts never do. Calibration is 200 of the training windows.
    """

    class Config(Schema):
        """How much of a text is seen."""

        tokens: int = Field(default=200, ge=8, le=500, description="characters of a window")

    config: Config

    def load(self) -> DataSet:
        """Return the windows; raises UsageError where Python was installed without its documentation."""
        longest = dict(list(topics().items())[:_CLASSES])
        parts: dict[str, list[np.ndarray]] = {part: [] for part in _EACH}
        for text in longest.values():
            found: dict[str, list[np.ndarray]] = {part: [] for part in _EACH}
            for part, window in windows(text, self.config.tokens, chunk=1000, stride=8):
                found[part].append(window)
            for part, count in _EACH.items():
                chosen = np.linspace(0, len(found[part]) - 1, count).round().astype(np.int64)
                parts[part].append(np.stack([found[part][at] for at in chosen]))
        random = np.random.default_rng(_SEED)
        splits = {}
        for part, by_class in parts.items():
            order = random.permutation(_CLASSES * _EACH[part])
            labels = np.repeat(np.arange(_CLASSES, dtype=np.int64), _EACH[part])
            splits[part] = Split(np.ascontiguousarray(np.concatenate(by_class)[order]), labels[order])
        train = splits["train"]
        first = [np.flatnonzero(train.labels == label)[:_CALIBRATION] for label in range(_CLASSES)]
        calibration = train.take(np.sort(np.concatenate(first)))
        names = tuple(longest)
        return DataSet("python-topics", train, splits["validation"], calibration, splits["test"], names, (), ())
