"""A warm start: the first networks come from the prior of earlier tasks, then more and more from the sampler itself."""

from __future__ import annotations

import numpy as np

from edgekd.search.prior import Prior
from edgekd.search.sampler import Sampler
from edgekd.search.space import Point

_FADES = 30.0
"""Networks told until a prior that was never wrong is asked no more often than the sampler."""


class WarmStart(Sampler):
    """Asks the prior or a sampler, which is told everything as if it had asked itself.

    The prior is asked with the probability s F / (F + n): s is the similarity of the most similar task, n how many
    networks were told, F a constant. So it fades as evidence grows, and at once where evidence is against it.
    """

    def __init__(self, sampler: Sampler, prior: Prior, seed: int) -> None:
        super().__init__(sampler.config, sampler.grid, sampler.costs, seed)
        self.random = np.random.default_rng([seed, prior.tasks])  # other numbers than the sampler's own
        self._sampler, self._prior = sampler, prior

    def propose(self) -> Point:
        """Return what the prior draws, or what the sampler asks for; anything where that has nothing left."""
        point = self._drawn()
        if point is None:
            point = self._sampler.ask()
        return self.anywhere() if point is None else point

    def learn(self, point: Point, costs: tuple[float, ...]) -> None:
        """Tell the sampler."""
        self._sampler.tell(point, costs)

    def _drawn(self) -> Point | None:
        """Return a network from the prior, reserved with the sampler; None where it is the sampler's turn."""
        similarities = self._prior.similarities(self.told)
        share = float(similarities.max()) * _FADES / (_FADES + len(self.told))
        if self.random.random() >= share:
            return None
        point = self._prior.draw(similarities, self.random, self.is_left)
        if point is not None:
            self._sampler.reserve(point)
        return point


def warmed(sampler: Sampler, prior: Prior, seed: int) -> Sampler:
    """Return a sampler that begins from a prior; the sampler itself where no earlier task says anything."""
    return WarmStart(sampler, prior, seed) if prior.tasks else sampler
