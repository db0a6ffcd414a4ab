"""Expected latency: a differentiable function of the probabilities of widths and depths, exact where they are certain.

A network is predicted to cost what its kernels cost together, so an expectation needs no networks: tables hold what the
kernels of a stage cost at each of its widths, and those between two stages at each pair of widths. Widths and depths
are drawn independently, so their probabilities multiply.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import product

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import one_hot

from edgekd.models.residual import STAGES
from edgekd.profile import Kernel
from edgekd.schema import digest_of
from edgekd.search.tas.shapes import Family, Positions, Shapes

Price = Callable[[Sequence[Kernel]], NDArray[np.float64]]
"""Gives what kernels cost in each engine that may ship: (engines,) milliseconds, the call itself counted in."""


class Tables:
    """What kernels cost at every candidate width."""

    def __init__(self, price: Price, family: Family, shapes: Shapes) -> None:
        self._shapes = shapes
        call = price(())

        def of(kernels: Iterable[Kernel], *stages: int) -> Tensor:
            """Return (engines, widths of the first stage, widths of the second); both of one stage: its diagonal."""
            found = list(kernels)
            tried = list(product(*(shapes.widths[stage] for stage in stages)))
            cells = [price(family.wide(found, dict(zip(stages, widths, strict=True)))) - call for widths in tried]
            return torch.from_numpy(np.stack(cells, 1)).view(len(call), *(len(shapes.widths[s]) for s in stages))

        by = {stages: [k for k in family.once if family.stages(k) == stages] for stages in _touched(family)}
        self._always = torch.from_numpy(price(by.get((), [])))
        self._own = [of(by.get((stage,), ()), stage) for stage in range(STAGES)]
        self._again = [of(kernels, stage) for stage, kernels in enumerate(family.again)]
        self._between = {stages: of(kernels, *stages) for stages, kernels in by.items() if len(stages) == 2}
        self._blocks = [torch.tensor(own, dtype=torch.float64) for own in shapes.blocks]

    @property
    def digest(self) -> str:
        """Return the digest of the candidates and of all that is said about them."""
        tables = [self._always, *self._own, *self._again, *self._between.values()]
        return digest_of([self._shapes.decisions, [table.tolist() for table in tables]])

    def expected(self, probabilities: Sequence[Tensor]) -> Tensor:
        """Return the expected milliseconds in the engine where they are least, a scalar; `probabilities` by decision.

        The engine is chosen by the expectation, not network by network.
        """
        told = [own.double() for own in probabilities]
        widths, blocks = told[:STAGES], told[STAGES:]
        total = self._always
        for stage, width in enumerate(widths):
            further = blocks[stage] @ self._blocks[stage] - 1
            total = total + (self._own[stage] + further * self._again[stage]) @ width
        for (first, second), table in self._between.items():
            total = total + torch.einsum("eij,i,j->e", table, widths[first], widths[second])
        return total.min()

    def of(self, positions: Positions) -> float:
        """Return the predicted milliseconds of one network."""
        sizes = map(len, self._shapes.decisions)
        certain = [one_hot(torch.tensor(at), size) for at, size in zip(positions, sizes, strict=True)]
        return float(self.expected(certain))


def _touched(family: Family) -> set[tuple[int, ...]]:
    return {family.stages(kernel) for kernel in family.once}


def cost_loss(expected: Tensor, now_ms: float, limit_ms: float, tolerance: float) -> Tensor:
    """Return L_cost: log E where the likeliest network costs more than the limit, -log E where it costs too little.

    Too little is less than (1 - tolerance) of the limit; in between nothing pulls, and the loss is zero.
    """
    if now_ms > limit_ms:
        return expected.log()
    if now_ms < (1 - tolerance) * limit_ms:
        return -expected.log()
    return 0 * expected
