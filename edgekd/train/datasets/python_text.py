"""The next character of Python's interactive help: language modelling on a text every Python has."""

from __future__ import annotations

import numpy as np

from edgekd.schema import Field, Schema
from edgekd.train.dataset import DataSet, Source, Split
from edgekd.train.python_text import VOCABULARY, topics, windows

_CALIBRATION = 64
_SEED = 311


class PythonText(Source):
    """Characters as tokens; the label of each is the one that follows.

    Windows of one part overlap by half, those of different parts never do. Calibration is 64 of the training windows.
    """

    class Config(Schema):
        """How much of the text is seen at once."""

        tokens: int = Field(default=128, ge=8, le=1000, description="characters of a window")

    config: Config

    def load(self) -> DataSet:
        """Return the windows; raises UsageError where Python was installed without its documentation."""
        length = self.config.tokens
        text = np.concatenate(list(topics().values()))
        found: dict[str, list[np.ndarray]] = {"train": [], "validation": [], "test": []}
        for part, window in windows(text, length + 1, chunk=2000, stride=length // 2):
            found[part].append(window)
        random = np.random.default_rng(_SEED)
        splits = {}
        for part, every in found.items():
            mixed = np.stack(every)[random.permutation(len(every))]
            splits[part] = Split(np.ascontiguousarray(mixed[:, :-1]), np.ascontiguousarray(mixed[:, 1:]))
        names = tuple(repr(chr(code)) for code in range(VOCABULARY))
        calibration = splits["train"].take(np.arange(_CALIBRATION))
        return DataSet(
            "python-text",
            splits["train"],
            splits["validation"],
            calibration,
            splits["test"],
            names,
            (),
            (),
            task="language-model",
        )
