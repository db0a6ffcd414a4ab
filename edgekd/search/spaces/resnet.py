"""CIFAR-style ResNets: depths times widths times resolutions, a shallow one may be wider than the teacher."""

from __future__ import annotations

from functools import cached_property
from typing import Annotated

from edgekd.models.residual import STAGES, ResNetShape, blocks_of
from edgekd.schema import Field, field_validator
from edgekd.search.residual_space import ResidualSpace
from edgekd.search.resolutions import Resolutions, Shrinks
from edgekd.search.space import Axis, Point

_Factor = Annotated[float, Field(gt=0, le=16)]


class ResNetSpace(ResidualSpace):
    """ResNets no deeper than the teacher; widths are relative to it where it is a ResNet, else to 16, 32, 64."""

    class Config(ResidualSpace.Config):
        """Which depths, widths and resolutions."""

        depths: tuple[int, ...] = Field(
            default=(8, 14, 20, 26, 32), min_length=1, max_length=32, description="6n + 2 layers"
        )
        multipliers: tuple[_Factor, ...] = Field(
            default=(0.25, 0.375, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0),
            min_length=1,
            max_length=32,
            description="of the teacher's widths",
        )
        growths: tuple[_Factor, ...] = Field(
            default=(1.0, 1.5),
            min_length=1,
            max_length=32,
            description="further factor from each stage to the next, cheaper one",
        )
        shrinks: Shrinks = (1,)

        @field_validator("depths")
        @classmethod
        def _six_n_plus_two(cls, depths: tuple[int, ...]) -> tuple[int, ...]:
            wrong = [depth for depth in depths if (depth - 2) % 6 or not 8 <= depth <= 200]
            if wrong:
                raise ValueError(f"{wrong[0]} is no depth; depths are 6n + 2, from 8 to 200")
            return depths

    config: Config

    def axes(self) -> tuple[Axis, ...]:
        """Return depth, width, how fast the width grows, and where there are several the resolution."""
        sizes = (self._depths, self.config.multipliers, self.config.growths)
        return (*(Axis(len(axis)) for axis in sizes), *self._resolutions.axes)

    def shape(self, point: Point) -> ResNetShape:
        """Return widths, blocks and resolution of these choices."""
        multiplier, growth = self.config.multipliers[point[1]], self.config.growths[point[2]]
        of_teacher = enumerate(self._of_teacher.widths)
        widths = tuple(self.aligned(width * multiplier * growth**k) for k, width in of_teacher)
        blocks = (blocks_of(self._depths[point[0]]),) * STAGES
        return ResNetShape(widths, blocks, self._resolutions.at(point[3:]))

    @cached_property
    def _depths(self) -> list[int]:
        """Return the depths, no deeper than the teacher."""
        deepest = 2 * sum(self._of_teacher.blocks) + 2 if self.teacher.name == "resnet" else max(self.config.depths)
        return [depth for depth in self.config.depths if depth <= deepest] or [min(self.config.depths)]

    @cached_property
    def _resolutions(self) -> Resolutions:
        return Resolutions(self.config.shrinks, self._of_teacher.shrink)

    @cached_property
    def _of_teacher(self) -> ResNetShape:
        return ResNetShape.of(self.teacher.options if self.teacher.name == "resnet" else {})
