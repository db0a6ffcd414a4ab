"""Inverted bottlenecks, the same cell in every place: width times depth, kernel, expansion and excitation."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Annotated

from edgekd.models.bottlenecks import Shape
from edgekd.recipe import ModelSpec
from edgekd.schema import Field, Schema, field_validator
from edgekd.search.cells import CellSpace, Edge, Skeleton, network
from edgekd.search.space import Axis, Point

_Share = Annotated[float, Field(gt=0, le=4)]

_SQUEEZED = 0.25
"""Of the hidden channels stand between the layers of squeeze-and-excitation, as in MobileNetV3."""
_PIXELS = 784
"""Of an image, whose size a space does not know: 28 by 28, as of MNIST's digits."""


class Row(Schema):
    """Cells in a row, the first of which has the stride."""

    channels: int = Field(ge=1, le=8192)
    repeats: int = Field(ge=1, le=32)
    stride: int = Field(default=1, ge=1, le=2)


_ROWS = (
    Row(channels=16, repeats=3),
    Row(channels=32, repeats=3, stride=2),
    Row(channels=64, repeats=3, stride=2),
)


class MobileCellsSpace(CellSpace):
    """Networks of the family `mobile-cells` around rows of one's own choice, whatever the teacher is.

    The search and its trials choose one cell for all places; the stage `kdl-darts` chooses for every place anew. That
    a search decides about squeeze-and-excitation is from MnasNet (Tan et al. 2019, arXiv 1807.11626), that it squeezes
    to a quarter of the hidden channels from MobileNetV3 (Howard et al. 2019, arXiv 1905.02244); that the quarter is
    rounded up to the step, as all widths here are, is our choice.
    """

    class Config(CellSpace.Config):
        """Rows, and what may differ."""

        stem: int = Field(default=16, ge=1, le=8192, description="channels of the first layer, times the width")
        rows: tuple[Row, ...] = Field(
            default=_ROWS, min_length=1, max_length=32, description="channels, repeats and stride of cells in a row"
        )
        head: int = Field(default=128, ge=1, le=65_536, description="channels before the classifier, times the width")
        widths: tuple[_Share, ...] = Field(
            default=(0.5, 0.75, 1.0), min_length=1, max_length=32, description="of all channels"
        )
        depths: tuple[Annotated[float, Field(gt=0, le=1)], ...] = Field(
            default=(1.0,), min_length=1, max_length=32, description="of the repeats of a row"
        )
        kernels: tuple[int, ...] = Field(default=(3, 5), min_length=1, max_length=6, description="sides of filters")
        expansions: tuple[int, ...] = Field(
            default=(1, 3, 6), min_length=1, max_length=12, description="hidden channels per input channel"
        )
        squeezes: tuple[bool, ...] = Field(
            default=(False,), min_length=1, max_length=2, description="squeeze-and-excitation or none, cheap ones first"
        )

        @field_validator("kernels")
        @classmethod
        def _odd(cls, kernels: tuple[int, ...]) -> tuple[int, ...]:
            wrong = [kernel for kernel in kernels if kernel % 2 == 0 or not 1 <= kernel <= 11]
            if wrong:
                raise ValueError(f"{wrong[0]} is no kernel; kernels are odd, from 1 to 11")
            return kernels

    config: Config

    def axes(self) -> tuple[Axis, ...]:
        """Return width, depth, kernel and expansion, then squeeze-and-excitation where that is to be decided."""
        config = self.config
        sizes = tuple(Axis(len(axis)) for axis in (config.widths, config.depths, config.kernels, config.expansions))
        return (*sizes, Axis(len(config.squeezes), ordered=False)) if len(config.squeezes) > 1 else sizes

    def at(self, point: Point) -> ModelSpec:
        """Return the network of these choices."""
        width = self.config.widths[point[0]]
        stem, head = self.aligned(self.config.stem * width), self.aligned(self.config.head * width)
        return network(stem, (shape for _, shape in self._cells(point)), head)

    def macs(self, point: Point) -> float:
        """Return the multiplications of cells and last layer per pixel of the input."""
        total, pixels, outputs = 0.0, 1.0, 0
        for inputs, (outputs, stride, kernel, expansion, squeeze) in self._cells(point):
            hidden = inputs * expansion
            total += inputs * hidden * pixels if expansion > 1 else 0
            pixels /= stride**2
            total += (kernel**2 + outputs) * hidden * pixels + 2 * squeeze * hidden / _PIXELS
        return total + outputs * self.aligned(self.config.head * self.config.widths[point[0]]) * pixels

    def rows(self, point: Point) -> tuple[int, ...]:
        """Return the cells of each row."""
        depth = self.config.depths[point[1]]
        return tuple(sum(number / row.repeats < depth for number in range(row.repeats)) for row in self.config.rows)

    @property
    def widest(self) -> float:
        """Return the largest width."""
        return max(self.config.widths)

    def skeleton(self, width: float) -> Skeleton:
        """Return every place for a cell; one that changes the shape, and the first, cannot stay empty."""
        edges: list[Edge] = []
        for inputs, channels, stride, _ in self._places(width):
            kinds = product(self.config.kernels, self.config.expansions, self.config.squeezes)
            shapes = [
                Shape(channels, stride, kernel, expansion, self._squeezed(inputs * expansion, squeezes))
                for kernel, expansion, squeezes in kinds
            ]
            may_be_empty = bool(edges) and stride == 1 and inputs == channels
            edges.append(Edge(inputs, (*shapes, None) if may_be_empty else tuple(shapes)))
        stem, head = self.aligned(self.config.stem * width), self.aligned(self.config.head * width)
        return Skeleton(stem, tuple(edges), head)

    def _cells(self, point: Point) -> Iterator[tuple[int, Shape]]:
        """Yield the channels every cell of a network is given, and the cell."""
        config = self.config
        width, depth = config.widths[point[0]], config.depths[point[1]]
        kernel, expansion = config.kernels[point[2]], config.expansions[point[3]]
        squeezes = config.squeezes[point[4] if len(config.squeezes) > 1 else 0]
        for inputs, channels, stride, share in self._places(width):
            if share < depth:
                yield inputs, Shape(channels, stride, kernel, expansion, self._squeezed(inputs * expansion, squeezes))

    def _squeezed(self, hidden: int, squeezes: bool) -> int:
        """Return the channels between the layers of an excitation of so many hidden ones; 0 where there is none."""
        return self.aligned(_SQUEEZED * hidden) if squeezes else 0

    def _places(self, width: float) -> Iterator[tuple[int, int, int, float]]:
        """Yield what each place is given, what it gives, its stride, and the share of its row that stands before it."""
        inputs = self.aligned(self.config.stem * width)
        for row in self.config.rows:
            channels = self.aligned(row.channels * width)
            for number in range(row.repeats):
                yield inputs, channels, row.stride if number == 0 else 1, number / row.repeats
                inputs = channels
