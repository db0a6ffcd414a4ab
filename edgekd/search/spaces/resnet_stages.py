"""CIFAR-style ResNets in which every stage has a width and a number of blocks of its own."""

from __future__ import annotations

from functools import cached_property
from typing import Annotated

from edgekd.models.network import NETWORKS
from edgekd.recipe import ModelSpec
from edgekd.schema import Field, from_mapping
from edgekd.search.space import Axis, Point, Space

_STAGES = 3
_Share = Annotated[float, Field(gt=0, le=1)]
_Blocks = Annotated[int, Field(ge=1, le=64)]


class ResNetStagesSpace(Space):
    """Shares of the teacher's widths where it is a ResNet, else of 16, 32, 64; no stage is deeper than the teacher's.

    Many networks, of which the samplers of `trials` try a few, and whose weights the stage `supernet` trains at once.
    """

    class Config(Space.Config):
        """Which widths and depths a stage may have."""

        widths: tuple[_Share, ...] = Field(
            default=(0.25, 0.5, 0.75, 1.0), min_length=1, max_length=16, description="of the teacher's width"
        )
        blocks: tuple[_Blocks, ...] = Field(
            default=(1, 2), min_length=1, max_length=8, description="residual blocks of a stage"
        )

    config: Config

    def axes(self) -> tuple[Axis, ...]:
        """Return the width of each stage, then the blocks of each stage."""
        return (*(Axis(len(self.config.widths)),) * _STAGES, *(Axis(len(own)) for own in self._blocks))

    def at(self, point: Point) -> ModelSpec:
        """Return the network of these choices; narrow ones may be the same when rounded to the step."""
        channels, blocks = self._shape(point)
        alike = len(set(blocks)) == 1
        depth = {"depth": 6 * blocks[0] + 2} if alike else {"blocks": list(blocks)}
        return ModelSpec(name="resnet", options={**depth, "channels": list(channels)})

    def macs(self, point: Point) -> float:
        """Return the multiplications of the residual blocks per pixel of the input."""
        channels, blocks = self._shape(point)
        total, inputs = 0.0, channels[0]
        for stage, (width, count) in enumerate(zip(channels, blocks, strict=True)):
            shortcut = inputs * width if stage else 0
            total += (9 * inputs * width + 9 * (2 * count - 1) * width**2 + shortcut) / 4**stage
            inputs = width
        return total

    def rows(self, point: Point) -> tuple[int, ...]:
        """Return the blocks of each stage."""
        return self._shape(point)[1]

    def _shape(self, point: Point) -> tuple[tuple[int, ...], tuple[int, ...]]:
        widths = zip(self._of_teacher[0], point[:_STAGES], strict=True)
        channels = tuple(self.aligned(width * self.config.widths[at]) for width, at in widths)
        return channels, tuple(own[at] for own, at in zip(self._blocks, point[_STAGES:], strict=True))

    @cached_property
    def _blocks(self) -> list[tuple[int, ...]]:
        """Return by stage what it may have, no more than the teacher."""
        asked = sorted(set(self.config.blocks))
        return [tuple(count for count in asked if count <= most) or (asked[0],) for most in self._of_teacher[1]]

    @cached_property
    def _of_teacher(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Return its widths and its blocks by stage; as many blocks as were asked for where it is no ResNet."""
        own = self.teacher.name == "resnet"
        options = self.teacher.options if own else {}
        config = from_mapping(NETWORKS.get("resnet").Config, options, "options of model 'resnet'").plain()
        counts = config["blocks"] or ((config["depth"] - 2) // 6,) * _STAGES
        return tuple(config["channels"]), tuple(counts) if own else (max(self.config.blocks),) * _STAGES
