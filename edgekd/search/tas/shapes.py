"""The ResNets a search chooses among: candidate widths and numbers of blocks for each stage of the network."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from edgekd.models.kernels import kernels
from edgekd.models.residual import STAGES, ResNetShape
from edgekd.profile import Kernel
from edgekd.recipe import ModelSpec
from edgekd.search.candidate import untrained

Positions = tuple[int, ...]
"""A network: of each stage the position of its width, then of each stage that of its number of blocks."""


@dataclass(frozen=True)
class Shapes:
    """Candidates of each stage, growing."""

    widths: tuple[tuple[int, ...], ...]
    blocks: tuple[tuple[int, ...], ...]

    @classmethod
    def around(cls, specs: Iterable[ModelSpec], step: int) -> Shapes:
        """Return everything between the narrowest and the widest, the shallowest and the deepest of some networks.

        Widths are multiples of the step; stages of one network may have different numbers of blocks.
        """
        shapes = [ResNetShape.of(spec.options) for spec in specs]
        depths = [blocks for shape in shapes for blocks in shape.blocks]
        reach = [[shape.widths[stage] for shape in shapes] for stage in range(STAGES)]
        widths = [range(-(-min(seen) // step) * step, max(seen) + 1, step) for seen in reach]
        return cls(tuple(map(tuple, widths)), (tuple(range(min(depths), max(depths) + 1)),) * STAGES)

    @property
    def decisions(self) -> tuple[tuple[int, ...], ...]:
        """Return the candidates of every decision, in the order of positions."""
        return (*self.widths, *self.blocks)

    @property
    def count(self) -> int:
        """Return the number of networks."""
        return prod(map(len, self.decisions))

    def of(self, positions: Positions) -> ResNetShape:
        """Return the network at some positions."""
        found = tuple(own[at] for own, at in zip(self.decisions, positions, strict=True))
        return ResNetShape(found[:STAGES], found[STAGES:])

    def within(self, fits: Callable[[Sequence[int], Sequence[int]], bool], most: int) -> Shapes:
        """Return the candidates that fit where all else is least, and of the widths `most` at most, evenly spread.

        The least of each always stays.
        """
        least = [own[0] for own in self.decisions]
        kept: list[tuple[int, ...]] = []
        for decision, own in enumerate(self.decisions):
            found = [own[0]]
            for value in own[1:]:
                values = [*least[:decision], value, *least[decision + 1 :]]
                if fits(values[:STAGES], values[STAGES:]):
                    found.append(value)
            if decision < STAGES and len(found) > most:
                found = [found[at] for at in np.linspace(0, len(found) - 1, most).round().astype(int)]
            kept.append(tuple(found))
        return Shapes(tuple(kept[:STAGES]), tuple(kept[STAGES:]))


@dataclass(frozen=True)
class Family:
    """The kernels of every ResNet for one kind of image, read off four that are built."""

    marks: tuple[int, ...]
    """The width each stage has here, by which a kernel tells what it reads and writes."""
    once: tuple[Kernel, ...]
    """Of a network with one block a stage."""
    again: tuple[tuple[Kernel, ...], ...]
    """Of a further block of each stage."""

    @classmethod
    def of(cls, input_shape: tuple[int, int, int], classes: int) -> Family:
        """Return the family for images (C, H, W)."""
        free = (width for width in range(2, STAGES + 4) if width not in {input_shape[0], classes})
        marks = tuple(width for width, _ in zip(free, range(STAGES), strict=False))

        def counted(blocks: Sequence[int]) -> Counter[Kernel]:
            module = untrained(ResNetShape(marks, tuple(blocks)).spec, input_shape, classes)
            return Counter(kernel._replace(name="") for kernel in kernels(module, input_shape))

        once = counted((1,) * STAGES)
        deeper = [tuple(1 + (stage == own) for stage in range(STAGES)) for own in range(STAGES)]
        again = tuple(tuple((counted(blocks) - once).elements()) for blocks in deeper)
        return cls(marks, tuple(once.elements()), again)

    def kernels(self, widths: Sequence[int], blocks: Sequence[int]) -> list[Kernel]:
        """Return the kernels of a network, without their names."""
        found = list(self.once)
        for further, count in zip(self.again, blocks, strict=True):
            found += further * (count - 1)
        return self.wide(found, dict(enumerate(widths)))

    def stages(self, kernel: Kernel) -> tuple[int, ...]:
        """Return the stages on whose widths a kernel depends, growing."""
        seen = {kernel.in_channels, kernel.out_channels}
        return tuple(stage for stage, mark in enumerate(self.marks) if mark in seen)

    def wide(self, found: Iterable[Kernel], widths: dict[int, int]) -> list[Kernel]:
        """Return kernels with the widths of some stages in the place of their marks."""
        sizes = {self.marks[stage]: width for stage, width in widths.items()}
        return [
            kernel._replace(
                in_channels=sizes.get(kernel.in_channels, kernel.in_channels),
                out_channels=sizes.get(kernel.out_channels, kernel.out_channels),
            )
            for kernel in found
        ]
