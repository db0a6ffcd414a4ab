"""Disjoint class-balanced subsets."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edgekd.errors import UsageError


def balanced(labels: NDArray[np.int64], sizes: Sequence[int], seed: int) -> list[NDArray[np.int64]]:
    """Return one sorted index set per size, disjoint, every class equally often (to within one sample).

    Raises UsageError when a class has too few samples for all sets together.
    """
    random = np.random.default_rng(seed)
    classes = np.unique(labels)
    pools = [random.permutation(np.flatnonzero(labels == label)) for label in classes]
    used = [0] * len(classes)
    sets: list[NDArray[np.int64]] = []
    for size in sizes:
        parts = []
        for position, pool in enumerate(pools):
            share = size // len(classes) + (position < size % len(classes))
            start, used[position] = used[position], used[position] + share
            if used[position] > len(pool):
                raise UsageError(
                    f"class {classes[position]} has {len(pool)} samples, too few for balanced sets of "
                    f"{', '.join(map(str, sizes))}; ask for smaller sets"
                )
            parts.append(pool[start : used[position]])
        sets.append(np.sort(np.concatenate(parts)).astype(np.int64))
    return sets
