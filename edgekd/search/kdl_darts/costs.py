"""What every operator adds to the latency of a network on the target, and what a mixture is expected to cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from edgekd.figure import Figure
from edgekd.models.bottlenecks import Bottleneck
from edgekd.models.kernels import kernels
from edgekd.profile import Kernel
from edgekd.schema import Field, Schema
from edgekd.search.candidate import candidate
from edgekd.search.cells import Skeleton, in_words
from edgekd.search.choice import Judge


class OperatorCost(Schema):
    """One operator of an edge."""

    operator: str
    added_ms: Figure = Field(description="predicted, corrected by the last round")


@dataclass(frozen=True)
class CostTable:
    """Predicted milliseconds by engine: of what all networks share, and of every operator on every edge.

    The predictor is a sum over kernels, fitted to engines that were measured on the target, so the costs of operators
    add up to the prediction of a whole network. A network ships as the engine that is predicted to be its fastest, so
    the least of the sums counts.
    """

    engines: tuple[tuple[str, str], ...]
    """Scheme and runtime."""
    fixed: Tensor
    """(engines,)"""
    added: Tensor
    """(engines, edges, operators), zero where an edge has no such operator."""
    exists: Tensor
    """(edges, operators)"""
    figures: tuple[tuple[tuple[OperatorCost, ...], ...], ...]
    """By engine and edge."""

    def expected(self, shares: Tensor) -> Tensor:
        """Return the milliseconds of a mixture with these shares (edges, operators)."""
        sums: Tensor = self.fixed + (self.added * shares).sum((1, 2))
        return sums.min()

    def engine(self, chosen: Sequence[int]) -> int:
        """Return which engine is predicted to be the fastest for these operators."""
        return int((self.fixed + self._of(chosen)).argmin())

    def cheapest(self) -> tuple[int, ...]:
        """Return the operators of the network that costs least."""
        dear = self.added.masked_fill(~self.exists, torch.inf)
        engine = int((self.fixed + dear.amin(2).sum(1)).argmin())
        return tuple(int(position) for position in dear[engine].argmin(1))

    def _of(self, chosen: Sequence[int]) -> Tensor:
        return self.added[:, range(len(chosen)), list(chosen)].sum(1)


def cost_table(skeleton: Skeleton, judge: Judge, input_shape: tuple[int, int, int], classes: int) -> CostTable:
    """Return the costs of a skeleton's operators under a judge's predictor."""
    engines = judge.engines
    whole = candidate("first", skeleton.spec([0] * len(skeleton.edges)), input_shape, classes).kernels
    shared = [kernel for kernel in whole if not kernel.name.startswith("blocks.")]
    operators = _kernels(skeleton, input_shape)
    fixed = judge.each_ms(shared).tolist()
    figures = tuple(
        tuple(
            tuple(
                OperatorCost(operator=in_words(shape), added_ms=judge.added(found, *engine))
                for shape, found in zip(edge.operators, of_edge, strict=True)
            )
            for edge, of_edge in zip(skeleton.edges, operators, strict=True)
        )
        for engine in engines
    )
    blank = [0.0] * skeleton.most
    added = [[([one.added_ms.value for one in edge] + blank)[: skeleton.most] for edge in rows] for rows in figures]
    counts = torch.tensor([[len(edge.operators)] for edge in skeleton.edges])
    return CostTable(
        tuple(engines), torch.tensor(fixed), torch.tensor(added), torch.arange(skeleton.most) < counts, figures
    )


def _kernels(skeleton: Skeleton, input_shape: tuple[int, int, int]) -> list[list[tuple[Kernel, ...]]]:
    """Return the kernels of every operator on every edge, at the resolution that edge sees."""
    height, width = input_shape[1:]
    found = []
    for edge in skeleton.edges:
        size = edge.inputs, height, width
        found.append(
            [() if shape is None else kernels(Bottleneck(edge.inputs, shape), size) for shape in edge.operators]
        )
        stride = next(shape.stride for shape in edge.operators if shape is not None)
        height, width = -(-height // stride), -(-width // stride)
    return found
