"""Inverted bottlenecks listed one by one, each with a kernel and an expansion of its own, for small images.

The bottleneck is MobileNetV2's (Sandler et al. 2018), with squeeze-and-excitation where MobileNetV3 has it (Howard et
al. 2019); a list of them, in place of a table of stages, is what a search that decides about every block needs.
"""

from __future__ import annotations

from torch import nn

from edgekd.models.bottlenecks import Shape, network
from edgekd.models.network import Network, image
from edgekd.schema import Field, Schema, field_validator


class Cell(Schema):
    """One bottleneck; it has a shortcut where its stride is 1 and it keeps the channels."""

    channels: int = Field(ge=1, le=8192, description="that it gives")
    stride: int = Field(default=1, ge=1, le=2)
    kernel: int = Field(default=3, ge=1, le=11, description="side of its filter, odd")
    expansion: int = Field(default=6, ge=1, le=12, description="hidden channels per input channel")
    squeeze: int = Field(
        default=0, ge=0, le=65_536, description="channels between the layers of squeeze-and-excitation; 0: it has none"
    )

    @field_validator("kernel")
    @classmethod
    def _odd(cls, kernel: int) -> int:
        if kernel % 2 == 0:
            raise ValueError(f"a kernel is odd; the nearest are {kernel - 1} and {kernel + 1}")
        return kernel


_DEFAULT = tuple(
    Cell(channels=channels, stride=stride if number == 0 else 1)
    for channels, stride in ((16, 1), (32, 2), (64, 2))
    for number in range(3)
)


class MobileCells(Network):
    """Bottlenecks of one's own choice behind a stem that keeps the resolution."""

    class Config(Schema):
        """The network from front to back."""

        stem: int = Field(default=16, ge=1, le=8192, description="channels of the first layer")
        cells: tuple[Cell, ...] = Field(
            default=_DEFAULT, min_length=1, max_length=256, description="the bottlenecks, in order"
        )
        head: int = Field(default=128, ge=1, le=65_536, description="channels before the classifier")

    config: Config

    def build(self, input_shape: tuple[int, ...], classes: int) -> nn.Module:
        """Return the module; 188k parameters at the default size."""
        config = self.config
        shapes = [Shape(**cell.plain()) for cell in config.cells]
        return network(image(input_shape)[0], config.stem, shapes, config.head, classes)
