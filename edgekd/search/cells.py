"""Networks of cells that can be chosen one by one: a skeleton of edges, and the operators each edge may hold."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from edgekd.models.bottlenecks import Shape
from edgekd.recipe import ModelSpec
from edgekd.search.space import Space


class Edge(NamedTuple):
    """One place for a cell: the channels it is given, and the cells it may hold."""

    inputs: int
    operators: tuple[Shape | None, ...]
    """Bottlenecks of the same channels and stride; None, always the last, is no cell at all."""


def network(stem: int, shapes: Iterable[Shape], head: int) -> ModelSpec:
    """Return the network of these cells.

    No excitation is not told: scores are kept by a network's specification, that of one without stays as it was.
    """
    cells = [{name: own for name, own in shape._asdict().items() if own or name != "squeeze"} for shape in shapes]
    return ModelSpec(name="mobile-cells", options={"stem": stem, "cells": cells, "head": head})


@dataclass(frozen=True)
class Skeleton:
    """What all networks of a search have in common."""

    stem: int
    edges: tuple[Edge, ...]
    head: int

    @property
    def most(self) -> int:
        """Return how many operators an edge has at most."""
        return max(len(edge.operators) for edge in self.edges)

    @property
    def width(self) -> int:
        """Return the channels behind the last edge."""
        return next(shape.channels for shape in self.edges[-1].operators if shape is not None)

    def spec(self, chosen: Sequence[int]) -> ModelSpec:
        """Return the network that holds on every edge the operator at that position."""
        shapes = [edge.operators[position] for edge, position in zip(self.edges, chosen, strict=True)]
        return network(self.stem, [shape for shape in shapes if shape is not None], self.head)


class CellSpace(Space):
    """Contract of a space whose networks hold the same cell everywhere, and could hold others."""

    @property
    @abstractmethod
    def widest(self) -> float:
        """Return the largest share of the channels that the space goes to."""

    @abstractmethod
    def skeleton(self, width: float) -> Skeleton:
        """Return the edges at a share of the widths, each with every cell of the space that fits there."""


def in_words(operator: Shape | None) -> str:
    """Return an operator's name."""
    if operator is None:
        return "none"
    squeezed = f", squeezed to {operator.squeeze}" if operator.squeeze else ""
    return f"kernel {operator.kernel}, expansion {operator.expansion}{squeezed}"
