"""A random search over widths: the control of every other one that chooses widths."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from edgekd.prune.cut import Cut

NEAR = 0.95
"""What a network costs at least of the limit."""


@dataclass(frozen=True)
class RandomWidths:
    """Draws networks that nearly cost the limit, and no more, and takes the one that is judged best."""

    ladders: Mapping[str, tuple[int, ...]]
    share: Callable[[Mapping[str, int]], float]
    """Cost of a network, of the whole one's."""
    cut: Callable[[Mapping[str, int]], Cut]
    judged: Callable[[Cut], float]
    seed: int
    drawn: int

    def __call__(self, limit: float) -> Cut:
        """Return the best of the first `drawn` networks; the order they are drawn in is the seed's."""
        fits = itertools.islice((widths for widths, share in self._all() if NEAR * limit <= share <= limit), self.drawn)
        return max(map(self.cut, fits), key=self._judged)

    def _all(self) -> Iterator[tuple[dict[str, int], float]]:
        """Yield every network there is, and what it costs, which is asked for once."""
        for point in self._order:
            widths = dict(zip(self.ladders, point, strict=True))
            if point not in self._known:
                self._known[point] = self.share(widths)
            yield widths, self._known[point]

    def _judged(self, cut: Cut) -> float:
        key = tuple(cut.widths.items())
        if key not in self._right:
            self._right[key] = self.judged(cut)
        return self._right[key]

    @cached_property
    def _order(self) -> list[tuple[int, ...]]:
        every = list(itertools.product(*self.ladders.values()))
        return [every[at] for at in np.random.default_rng(self.seed).permutation(len(every))]

    @cached_property
    def _known(self) -> dict[tuple[int, ...], float]:
        return {}

    @cached_property
    def _right(self) -> dict[tuple[tuple[str, int], ...], float]:
        return {}
