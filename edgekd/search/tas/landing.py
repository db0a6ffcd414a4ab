"""From probabilities to one network: the likeliest whose predicted cost is at the limit."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from edgekd.search.tas.shapes import Positions


class Landed(NamedTuple):
    """The network that was chosen."""

    positions: Positions
    rank: int
    """How many networks are likelier."""
    on_limit: bool
    """Whether it costs no more than the limit, and at most the tolerance less."""


def landed(
    log_probabilities: Sequence[Sequence[float]],
    cost: Callable[[Positions], float],
    fits: Callable[[Positions], bool],
    limit: float,
    tolerance: float,
) -> Landed:
    """Return the likeliest network between (1 - tolerance) of the limit and the limit, which also `fits`.

    The paper takes the likeliest network as it is; that it has to be within the limit is ours. Where candidates are
    too few for any to be in between, the dearest below the limit is taken, and where all are above it the cheapest.
    """
    below, cheapest = (0.0, Landed((), 0, on_limit=False)), (float("inf"), Landed((), 0, on_limit=False))
    for rank, positions in enumerate(by_probability(log_probabilities)):
        own = cost(positions)
        if (1 - tolerance) * limit <= own <= limit and fits(positions):
            return Landed(positions, rank, on_limit=True)
        if below[0] < own <= limit and fits(positions):
            below = own, Landed(positions, rank, on_limit=False)
        if own < cheapest[0]:
            cheapest = own, Landed(positions, rank, on_limit=False)
    return below[1] if below[1].positions else cheapest[1]


def by_probability(log_probabilities: Sequence[Sequence[float]]) -> Iterator[Positions]:
    """Yield every combination of candidates, one of each decision, by falling probability."""
    ranked = [sorted(range(len(own)), key=own.__getitem__, reverse=True) for own in log_probabilities]

    def unlikely(ranks: Positions) -> float:
        return -sum(own[order[at]] for own, order, at in zip(log_probabilities, ranked, ranks, strict=True))

    first = (0,) * len(ranked)
    waiting, seen = [(unlikely(first), first)], {first}
    while waiting:
        _, ranks = heapq.heappop(waiting)
        yield tuple(order[at] for order, at in zip(ranked, ranks, strict=True))
        for decision, at in enumerate(ranks):
            following = (*ranks[:decision], at + 1, *ranks[decision + 1 :])
            if at + 1 < len(ranked[decision]) and following not in seen:
                seen.add(following)
                heapq.heappush(waiting, (unlikely(following), following))
