"""What the spaces of CIFAR-style ResNets share: a point is a `ResNetShape`."""

from __future__ import annotations

from abc import abstractmethod

from edgekd.models.residual import ResNetShape
from edgekd.recipe import ModelSpec
from edgekd.search.space import Point, Space


class ResidualSpace(Space):
    """A space that knows the shape of each of its networks."""

    @abstractmethod
    def shape(self, point: Point) -> ResNetShape:
        """Return widths, blocks and resolution of these choices."""

    def at(self, point: Point) -> ModelSpec:
        """Return the network of these choices; narrow ones may be the same when rounded to the step."""
        return self.shape(point).spec

    def macs(self, point: Point) -> float:
        """Return the multiplications of the residual blocks per pixel of the input."""
        return self.shape(point).macs

    def rows(self, point: Point) -> tuple[int, ...]:
        """Return the blocks of each stage."""
        return self.shape(point).blocks
