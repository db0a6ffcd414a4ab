"""MobileNetV2 for small images: inverted bottlenecks with a linear end (Sandler et al. 2018)."""

from __future__ import annotations

from torch import nn

from edgekd.models.bottlenecks import Shape, network, rounded, stages
from edgekd.models.network import Network, image
from edgekd.models.shrink import MOST, shrinking
from edgekd.schema import Field, Schema


class MobileNetV2(Network):
    """MobileNetV2 whose stem keeps the resolution; three of its stages halve it."""

    class Config(Schema):
        """Size of the network."""

        width: float = Field(default=1.0, gt=0, le=4, description="multiplies every channel count")
        depth: float = Field(default=1.0, gt=0, le=4, description="multiplies the repeats of every stage, at least one")
        expansion: int = Field(default=6, ge=1, le=12, description="hidden channels of a bottleneck per input channel")
        head: int = Field(
            default=640, ge=1, le=65_536, description="channels before the classifier, multiplied by width"
        )
        channel_step: int = Field(
            default=8, ge=1, le=1024, description="channel counts are rounded to a multiple of this"
        )
        shrink: int = Field(
            default=1, ge=1, le=MOST, description="the image is first averaged over squares of so many pixels a side"
        )

    config: Config

    def build(self, input_shape: tuple[int, ...], classes: int) -> nn.Module:
        """Return the module; 1.7M parameters at the default size."""
        config = self.config
        stem, head = (rounded(channels * config.width, config.channel_step) for channels in (32, config.head))
        shapes = [
            Shape(stage.channels, stage.stride if number == 0 else 1, 3, stage.expansion)
            for stage in stages(config.width, config.depth, config.expansion, config.channel_step)
            for number in range(stage.repeats)
        ]
        given = image(input_shape)
        halvings = sum(shape.stride == 2 for shape in shapes)
        return network(given[0], stem, shapes, head, classes, shrinking(config.shrink, given, halvings))
