"""The text of Python's help: windows of different parts share no character."""

from __future__ import annotations

import numpy as np

from edgekd.recipe import DataSpec
from edgekd.train.data import load
from edgekd.train.python_text import VOCABULARY, topics, windows


def test_windows_of_different_parts_share_no_character() -> None:
    text = np.arange(30_000, dtype=np.int64)
    places: dict[str, set[int]] = {}
    for part, window in windows(text, 200, chunk=1000, stride=64):
        places.setdefault(part, set()).update(window.tolist())
    assert places.keys() == {"train", "validation", "test"}
    assert not places["train"] & (places["validation"] | places["test"])
    assert not places["validation"] & places["test"]


def test_characters_are_the_texts_own() -> None:
    longest, text = next(iter(topics().items()))
    assert longest
    assert text.max() < VOCABULARY
    assert "".join(map(chr, text[:2000])).isprintable() or "\n" in "".join(map(chr, text[:2000]))


def test_the_label_of_a_character_is_the_next_one() -> None:
    data = load(DataSpec(name="python-text", options={"tokens": 32}))
    assert data.task == "language-model"
    assert np.array_equal(data.train.inputs[:, 1:], data.train.labels[:, :-1])
    assert data.input_shape == (32,)
