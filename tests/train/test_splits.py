"""Class-balanced subsets."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekd.errors import UsageError
from edgekd.train.splits import balanced

LABELS = np.random.default_rng(0).permutation(np.repeat(np.arange(5), 40))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 60), min_size=1, max_size=3), st.integers(0, 100))
def test_sets_are_disjoint_balanced_and_of_the_size_asked_for(sizes: list[int], seed: int) -> None:
    sets = balanced(LABELS, sizes, seed)
    assert [len(indices) for indices in sets] == sizes
    together = np.concatenate(sets)
    assert len(np.unique(together)) == len(together)
    for indices in sets:
        counts = np.bincount(LABELS[indices], minlength=5)
        assert counts.max() - counts.min() <= 1


def test_the_seed_decides() -> None:
    assert np.array_equal(balanced(LABELS, [20], 1)[0], balanced(LABELS, [20], 1)[0])
    assert not np.array_equal(balanced(LABELS, [20], 1)[0], balanced(LABELS, [20], 2)[0])


def test_too_few_samples_are_refused() -> None:
    with pytest.raises(UsageError, match="class 0 has 40 samples, too few for balanced sets of 150, 60"):
        balanced(LABELS, [150, 60], 0)
