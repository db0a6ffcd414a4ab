"""MobileNetV2 for small images: inverted bottlenecks with a linear end (Sandler et al. 2018)."""

from __future__ import annotations

from torch import Tensor, nn

from edgekd.models.bottlenecks import Stage, rounded, stages
from edgekd.models.network import Network, image
from edgekd.schema import Field, Schema


def _conv(inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    conv = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, groups=groups, bias=False)
    return [conv, nn.BatchNorm2d(outputs)]


class _Block(nn.Module):
    """Expand 1x1, filter 3x3 depthwise, project 1x1 without activation; a shortcut where shapes allow."""

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        expand = [*_conv(inputs, hidden), nn.ReLU6()] if expansion > 1 else []
        depthwise = [*_conv(hidden, hidden, 3, stride, groups=hidden), nn.ReLU6()]
        self.layers = nn.Sequential(*expand, *depthwise, *_conv(hidden, outputs))
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layers(x)
        return x + y if self.residual else y


class _Module(nn.Module):
    def __init__(self, stem: int, stages: list[Stage], head: int, inputs: int, classes: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(*_conv(inputs, stem, 3), nn.ReLU6())
        blocks: list[nn.Module] = []
        width = stem
        for outputs, repeats, stride, expansion in stages:
            for position in range(repeats):
                blocks.append(_Block(width, outputs, stride if position == 0 else 1, expansion))
                width = outputs
        self.blocks = nn.Sequential(*blocks)
        self.last = nn.Sequential(*_conv(width, head), nn.ReLU6())
        self.head = nn.Linear(head, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")

    def forward(self, x: Tensor) -> Tensor:
        x = self.last(self.blocks(self.stem(x)))
        out: Tensor = self.head(x.mean((2, 3)))
        return out


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

    config: Config

    def build(self, input_shape: tuple[int, ...], classes: int) -> nn.Module:
        """Return the module; 1.7M parameters at the default size."""
        config = self.config
        stem, head = (rounded(channels * config.width, config.channel_step) for channels in (32, config.head))
        layers = stages(config.width, config.depth, config.expansion, config.channel_step)
        return _Module(stem, layers, head, image(input_shape)[0], classes)
