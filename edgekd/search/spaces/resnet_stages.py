"""CIFAR-style ResNets in which every stage has a width and a number of blocks of its own."""

from __future__ import annotations

from functools import cached_property
from typing import Annotated

from edgekd.models.residual import STAGES, ResNetShape
from edgekd.schema import Field
from edgekd.search.residual_space import ResidualSpace
from edgekd.search.resolutions import Resolutions, Shrinks
from edgekd.search.space import Axis, Point

_Share = Annotated[float, Field(gt=0, le=1)]
_Blocks = Annotated[int, Field(ge=1, le=64)]


class ResNetStagesSpace(ResidualSpace):
    """Shares of the teacher's widths where it is a ResNet, else of 16, 32, 64; no stage is deeper than the teacher's.

    Many networks, of which the samplers of `trials` try a few, and whose weights the stage `supernet` trains at once.
    """

    class Config(ResidualSpace.Config):
        """Which widths and depths a stage may have, and which resolutions the network."""

        widths: tuple[_Share, ...] = Field(
            default=(0.25, 0.5, 0.75, 1.0), min_length=1, max_length=16, description="of the teacher's width"
        )
        blocks: tuple[_Blocks, ...] = Field(
            default=(1, 2), min_length=1, max_length=8, description="residual blocks of a stage"
        )
        shrinks: Shrinks = (1,)

    config: Config

    def axes(self) -> tuple[Axis, ...]:
        """Return the width of each stage, then the blocks of each stage, and where there are several the resolution."""
        widths, blocks = (Axis(len(self.config.widths)),) * STAGES, (Axis(len(own)) for own in self._blocks)
        return (*widths, *blocks, *self._resolutions.axes)

    def shape(self, point: Point) -> ResNetShape:
        """Return widths, blocks and resolution of these choices."""
        widths = zip(self._of_teacher.widths, point[:STAGES], strict=True)
        channels = tuple(self.aligned(width * self.config.widths[at]) for width, at in widths)
        counts = zip(self._blocks, point[STAGES : 2 * STAGES], strict=True)
        shrink = self._resolutions.at(point[2 * STAGES :])
        return ResNetShape(channels, tuple(own[at] for own, at in counts), shrink)

    @cached_property
    def _blocks(self) -> list[tuple[int, ...]]:
        """Return by stage what it may have, no more than the teacher."""
        asked = sorted(set(self.config.blocks))
        return [tuple(count for count in asked if count <= most) or (asked[0],) for most in self._of_teacher.blocks]

    @cached_property
    def _resolutions(self) -> Resolutions:
        return Resolutions(self.config.shrinks, self._of_teacher.shrink)

    @cached_property
    def _of_teacher(self) -> ResNetShape:
        """Return its shape; with as many blocks as were asked for where it is no ResNet."""
        if self.teacher.name == "resnet":
            return ResNetShape.of(self.teacher.options)
        return ResNetShape.of({})._replace(blocks=(max(self.config.blocks),) * STAGES)
