"""A text that comes with every Python: the topics of its interactive help, 465,000 characters in CPython 3.11."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from edgekd.errors import UsageError

VOCABULARY = 128
"""ASCII; every other character is the last of them."""
PARTS = ("train", "train", "train", "validation", "train", "train", "train", "test", "train", "test")
"""What a chunk of the text is for, in rotation, so that every part sees beginning and end of every topic."""


def topics() -> dict[str, NDArray[np.int64]]:
    """Return the characters of every topic, int64 (length,), the longest first.

    Raises UsageError where Python was installed without its documentation.
    """
    try:
        from pydoc_data.topics import topics as found
    except ImportError as error:
        raise UsageError("this Python has no pydoc_data.topics, the text of its help; install all of Python") from error
    longest = sorted(found.items(), key=lambda item: (-len(item[1]), item[0]))
    return {name: np.array([min(ord(c), VOCABULARY - 1) for c in text], np.int64) for name, text in longest}


def windows(text: NDArray[np.int64], length: int, chunk: int, stride: int) -> Iterator[tuple[str, NDArray[np.int64]]]:
    """Yield every window of a text with its part; none reaches from one chunk into the next."""
    for number, start in enumerate(range(0, len(text) - length + 1, chunk)):
        piece = text[start : start + chunk]
        for first in range(0, len(piece) - length + 1, stride):
            yield PARTS[number % len(PARTS)], piece[first : first + length]
