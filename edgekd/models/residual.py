"""The shapes of ResNets for small images (He et al. 2015, section 4.2): how a recipe says them, what they multiply."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from edgekd.models.network import options_of
from edgekd.recipe import ModelSpec

STAGES = 3


class ResNetShape(NamedTuple):
    """A width and a number of residual blocks for each of three stages."""

    widths: tuple[int, ...]
    blocks: tuple[int, ...]
    shrink: int = 1
    """The image is first averaged over squares of so many pixels a side."""

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> ResNetShape:
        """Return the shape that options of the family `resnet` say; raises UsageError where they say none."""
        config = options_of("resnet", options)
        blocks = tuple(config["blocks"] or (blocks_of(config["depth"]),) * STAGES)
        return cls(tuple(config["channels"]), blocks, config["shrink"])

    @property
    def spec(self) -> ModelSpec:
        """Return the network as a recipe says it: by its depth where all stages have as many blocks."""
        alike = len(set(self.blocks)) == 1
        depth = {"depth": 6 * self.blocks[0] + 2} if alike else {"blocks": list(self.blocks)}
        shrink = {} if self.shrink == 1 else {"shrink": self.shrink}
        return ModelSpec(name="resnet", options={**depth, "channels": list(self.widths), **shrink})

    @property
    def macs(self) -> float:
        """Return the multiplications of the residual blocks per pixel of the input."""
        total, inputs = 0.0, self.widths[0]
        for stage, (width, count) in enumerate(zip(self.widths, self.blocks, strict=True)):
            shortcut = inputs * width if stage else 0
            total += (9 * inputs * width + 9 * (2 * count - 1) * width**2 + shortcut) / 4**stage
            inputs = width
        return total / self.shrink**2


def blocks_of(depth: int) -> int:
    """Return the blocks of each stage of a network of 6n + 2 layers."""
    return (depth - 2) // 6
