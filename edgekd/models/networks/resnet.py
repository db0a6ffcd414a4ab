"""CIFAR-style ResNet: three stages of plain residual blocks (He et al. 2015, section 4.2)."""

from __future__ import annotations

from typing import Annotated

from torch import Tensor, nn

from edgekd.models.network import Network, image
from edgekd.models.residual import STAGES, blocks_of
from edgekd.models.shrink import MOST, Shrink, shrinking
from edgekd.schema import Field, Schema, field_validator


class _Block(nn.Module):
    """Two 3x3 convolutions and a shortcut, a 1x1 convolution where the shape changes (option B of the paper)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.relu2 = nn.ReLU()
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu1(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        y = y + self.shortcut(x)
        out: Tensor = self.relu2(y)
        return out


class _Module(nn.Module):
    def __init__(
        self,
        counts: tuple[int, int, int],
        channels: tuple[int, int, int],
        inputs: int,
        classes: int,
        shrink: Shrink | None,
    ) -> None:
        super().__init__()
        self.shrink = shrink
        self.conv = nn.Conv2d(inputs, channels[0], 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(channels[0])
        self.relu = nn.ReLU()
        blocks: list[nn.Module] = []
        width = channels[0]
        for stage, (count, outputs) in enumerate(zip(counts, channels, strict=True)):
            for position in range(count):
                blocks.append(_Block(width, outputs, stride=2 if stage > 0 and position == 0 else 1))
                width = outputs
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Linear(width, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        x = x if self.shrink is None else self.shrink(x)
        x = self.blocks(self.relu(self.bn(self.conv(x))))
        out: Tensor = self.head(x.mean((2, 3)))
        return out


_Blocks = Annotated[int, Field(ge=1, le=64)]
_Channels = Annotated[int, Field(ge=1, le=8192)]


class ResNet(Network):
    """ResNet for small images: a 3x3 stem, three stages, the last two halve height and width."""

    class Config(Schema):
        """Size of the network."""

        depth: int = Field(default=20, ge=8, le=200, description="layers, 6n + 2: 8, 14, 20, 26, 32, ...")
        blocks: tuple[_Blocks, _Blocks, _Blocks] | None = Field(
            default=None, description="blocks of each stage, in place of depth"
        )
        channels: tuple[_Channels, _Channels, _Channels] = Field(
            default=(16, 32, 64), description="width of each stage"
        )
        shrink: int = Field(
            default=1, ge=1, le=MOST, description="the image is first averaged over squares of so many pixels a side"
        )

        @field_validator("depth")
        @classmethod
        def _six_n_plus_two(cls, depth: int) -> int:
            if (depth - 2) % 6:
                below = 6 * blocks_of(depth) + 2
                raise ValueError(f"a depth is 6n + 2; the nearest are {below} and {below + 6}")
            return depth

    config: Config

    def build(self, input_shape: tuple[int, ...], classes: int) -> nn.Module:
        """Return the module; 272k parameters at the default size."""
        each = blocks_of(self.config.depth)
        counts = self.config.blocks or (each, each, each)
        given = image(input_shape)
        shrink = shrinking(self.config.shrink, given, STAGES - 1)
        return _Module(counts, self.config.channels, given[0], classes, shrink)
