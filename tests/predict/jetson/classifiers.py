"""ResNet, MobileNet, MixNet, EfficientFormer and the classic torchvision networks, from papers and public code."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from edgekd.kernel import FusedKernel, Shape
from tests.predict.jetson.layers import Layers, concat

Builder = Callable[[Layers, int], object]


def _head(net: Layers, x: Shape, classes: int) -> Shape:
    return net.linear(net.mean(x), classes)


def resnet(net: Layers, classes: int, blocks: Sequence[int], deep: bool) -> None:
    """He et al. 2016, stride in the 3x3 convolution."""
    x = net.pool(net.conv(net.image, 64, 7, 2), 3, 2)
    for stage, count in enumerate(blocks):
        width = 64 << stage
        for block in range(count):
            stride = 2 if stage and not block else 1
            out = 4 * width if deep else width
            if stride > 1 or x[1] != out:
                net.conv(x, out, 1, stride, act="")
            y = net.conv(net.conv(x, width), width, 3, stride) if deep else net.conv(x, width, 3, stride)
            x = net.conv(y, out, 1 if deep else 3, add=True)
    _head(net, x, classes)


_LARGE = [
    # window, expanded, out, squeeze and excite, activation, stride
    (3, 16, 16, False, "Relu", 1), (3, 64, 24, False, "Relu", 2), (3, 72, 24, False, "Relu", 1),
    (5, 72, 40, True, "Relu", 2), (5, 120, 40, True, "Relu", 1), (5, 120, 40, True, "Relu", 1),
    (3, 240, 80, False, "HardSwish", 2), (3, 200, 80, False, "HardSwish", 1), (3, 184, 80, False, "HardSwish", 1),
    (3, 184, 80, False, "HardSwish", 1), (3, 480, 112, True, "HardSwish", 1), (3, 672, 112, True, "HardSwish", 1),
    (5, 672, 160, True, "HardSwish", 2), (5, 960, 160, True, "HardSwish", 1), (5, 960, 160, True, "HardSwish", 1),
]  # fmt: skip
_SMALL = [
    (3, 16, 16, True, "Relu", 2), (3, 72, 24, False, "Relu", 2), (3, 88, 24, False, "Relu", 1),
    (5, 96, 40, True, "HardSwish", 2), (5, 240, 40, True, "HardSwish", 1), (5, 240, 40, True, "HardSwish", 1),
    (5, 120, 48, True, "HardSwish", 1), (5, 144, 48, True, "HardSwish", 1), (5, 288, 96, True, "HardSwish", 2),
    (5, 576, 96, True, "HardSwish", 1), (5, 576, 96, True, "HardSwish", 1),
]  # fmt: skip


def mobilenet_v3(net: Layers, classes: int, rows: Sequence[tuple[int, int, int, bool, str, int]], hidden: int) -> None:
    """Howard et al. 2019."""
    x = net.conv(net.image, 16, 3, 2, "HardSwish")
    for window, expanded, out, excite, act, stride in rows:
        y = net.conv(x, expanded, act=act) if expanded != x[1] else x
        y = net.depthwise(y, window, stride, act)
        if excite:
            y = net.squeeze_excite(y, _eighths(expanded / 4))
        x = net.conv(y, out, act="", add=stride == 1 and x[1] == out)
    x = net.conv(x, 6 * x[1], act="HardSwish")
    net.linear(net.linear(net.mean(x), hidden, "HardSwish"), classes)


def _eighths(channels: float) -> int:
    near = max(8, int(channels + 4) // 8 * 8)
    return near + 8 if near < 0.9 * channels else near


_MIX_S = [
    # expansion, out, blocks, windows, groups of the expansion, of the projection, stride, reduction
    (1, 16, 1, (3,), 1, 1, 1, 0), (6, 24, 1, (3,), 2, 2, 2, 0), (3, 24, 1, (3,), 2, 2, 1, 0),
    (6, 40, 1, (3, 5, 7), 1, 1, 2, 2), (6, 40, 3, (3, 5), 2, 2, 1, 2),
    (6, 80, 1, (3, 5, 7), 1, 2, 2, 4), (6, 80, 2, (3, 5), 1, 2, 1, 4),
    (6, 120, 1, (3, 5, 7), 2, 2, 1, 2), (3, 120, 2, (3, 5, 7, 9), 2, 2, 1, 2),
    (6, 200, 1, (3, 5, 7, 9, 11), 1, 1, 2, 2), (6, 200, 2, (3, 5, 7, 9), 1, 2, 1, 2),
]  # fmt: skip
_MIX_M = [
    (1, 24, 1, (3,), 1, 1, 1, 0), (6, 32, 1, (3, 5, 7), 2, 2, 2, 0), (3, 32, 1, (3,), 2, 2, 1, 0),
    (6, 40, 1, (3, 5, 7, 9), 1, 1, 2, 2), (6, 40, 3, (3, 5), 2, 2, 1, 2),
    (6, 80, 1, (3, 5, 7), 1, 1, 2, 4), (6, 80, 3, (3, 5, 7, 9), 2, 2, 1, 4),
    (6, 120, 1, (3,), 1, 1, 1, 2), (3, 120, 3, (3, 5, 7, 9), 2, 2, 1, 2),
    (6, 200, 1, (3, 5, 7, 9), 1, 1, 2, 2), (6, 200, 3, (3, 5, 7, 9), 1, 2, 1, 2),
]  # fmt: skip


def mixnet(net: Layers, classes: int, rows: Sequence[tuple], stem: int, wide: float) -> None:
    """Tan and Le 2019; each window and each group of channels is a convolution of its own."""
    x = net.conv(net.image, _eighths(stem * wide), 3, 2)
    for expansion, channels, blocks, windows, expanding, projecting, strides, reduction in rows:
        out = _eighths(channels * wide)
        act = "Swish" if reduction else "Relu"
        for block in range(blocks):
            stride = 1 if block else strides
            hidden = expansion * x[1]
            y = x
            if expansion > 1:
                y = _split(net, x, [hidden // expanding] * expanding, [1] * expanding, 1, act)
            widths = _shares(hidden, len(windows))
            y = _split(net, y, widths, windows, stride, act, depthwise=True)
            if reduction:
                y = net.squeeze_excite(y, x[1] // reduction, act="Swish")
            alike = stride == 1 and x[1] == out
            y = _split(net, y, [out // projecting] * projecting, [1] * projecting, 1, "")
            x = net.join(y, x) if alike else y
    _head(net, net.conv(x, 1536), classes)


def _shares(channels: int, count: int) -> list[int]:
    share = channels // count
    return [channels - share * (count - 1), *[share] * (count - 1)]


def _split(
    net: Layers, x: Shape, widths: Sequence[int], windows: Sequence[int], stride: int, act: str, depthwise: bool = False
) -> Shape:
    parts = _shares(x[1], len(widths))
    found = []
    for part, width, window in zip(parts, widths, windows, strict=True):
        groups = width if depthwise else 1
        if len(parts) > 1:
            net.shuffle((1, part, *x[2:]))
        found.append(net.conv((1, part, *x[2:]), width, window, stride, "Relu" if act == "Relu" else "", groups))
    y = concat(*found)
    return y if act in {"Relu", ""} else net.act(y, act)


def efficientformer_l1(net: Layers, classes: int) -> None:
    """Li et al. 2022: pooling as token mixer, one block of attention at the end."""
    widths = (48, 96, 224, 448)
    x = net.conv(net.conv(net.image, 24, 3, 2), 48, 3, 2)
    for stage, count in enumerate((3, 2, 6, 3)):
        if stage:
            x = net.conv(x, widths[stage], 3, 2, act="")
        for _ in range(count):
            x = net.join(x, net.pool(x, 3, 1))
            x = net.conv(net.conv(x, 4 * x[1], act="Gelu"), x[1], act="", add=True)
    tokens, width, heads = x[2] * x[3], x[1], 8
    sequence = net.act((1, tokens, width), "LayerNormalization")
    net.linear(sequence, 2 * 32 * heads + 128 * heads)
    q, k, v = (heads, tokens, 32), (heads, 32, tokens), (heads, tokens, 128)
    scores = net.act(net.matmul(net.shuffle(q), net.shuffle(k)), "Softmax")
    mixed = net.shuffle(net.matmul(scores, net.shuffle(v)))
    sequence = net.join(net.linear((1, tokens, mixed[0] * mixed[2]), width), sequence)
    sequence = net.act(sequence, "LayerNormalization")
    sequence = net.join(net.linear(net.linear(sequence, 4 * width, "Gelu"), width), sequence)
    sequence = net.act(sequence, "LayerNormalization")
    net.linear(net.mean((1, width, tokens, 1)), classes)


def alexnet(net: Layers, classes: int) -> None:
    """Krizhevsky 2014, as torchvision has it."""
    x = net.pool(net.conv(net.image, 64, 11, 4, padding=2), 3, 2, 0)
    x = net.pool(net.conv(x, 192, 5), 3, 2, 0)
    x = net.pool(net.conv(net.conv(net.conv(x, 384, 3), 256, 3), 256, 3), 3, 2, 0)
    net.linear(net.linear(net.linear(x, 4096, "Relu"), 4096, "Relu"), classes)


def vgg(net: Layers, classes: int, blocks: Sequence[int]) -> None:
    """Simonyan and Zisserman 2014."""
    x = net.image
    for width, count in zip((64, 128, 256, 512, 512), blocks, strict=True):
        for _ in range(count):
            x = net.conv(x, width, 3)
        x = net.pool(x, 2, 2, 0)
    net.linear(net.linear(net.linear(x, 4096, "Relu"), 4096, "Relu"), classes)


def squeezenet(net: Layers, classes: int, first: int) -> None:
    """Iandola et al. 2016, versions 1.0 and 1.1."""
    old = first == 96
    x = net.pool(net.conv(net.image, first, 7 if old else 3, 2, padding=0), 3, 2, 0, up=True)
    pools = (3, 7) if old else (2, 4)
    for number, squeeze in enumerate((16, 16, 32, 32, 48, 48, 64, 64)):
        if number in pools:
            x = net.pool(x, 3, 2, 0, up=True)
        y = net.conv(x, squeeze)
        x = concat(net.conv(y, 4 * squeeze), net.conv(y, 4 * squeeze, 3))
    net.mean(net.conv(x, classes))


def densenet(net: Layers, classes: int, blocks: Sequence[int], growth: int = 32, first: int = 64) -> None:
    """Huang et al. 2017; normalisation before a convolution is a kernel of its own."""
    x = net.pool(net.conv(net.image, first, 7, 2), 3, 2)
    for stage, count in enumerate(blocks):
        if stage:
            x = net.pool(net.conv(net.act(x, "BatchNormalization"), x[1] // 2, act=""), 2, 2, 0)
        for _ in range(count):
            y = net.conv(net.act(x, "BatchNormalization"), 4 * growth)
            x = concat(x, net.conv(y, growth, 3, act=""))
    _head(net, net.act(x, "BatchNormalization"), classes)


def mobilenet_v2(net: Layers, classes: int) -> None:
    """Sandler et al. 2018."""
    x = net.conv(net.image, 32, 3, 2, "Clip")
    rows = (
        (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1),
    )  # fmt: skip
    _inverted(net, x, [(*row, 3) for row in rows], "Clip", 1280, classes)


def mnasnet(net: Layers, classes: int, wide: float) -> None:
    """Tan et al. 2019, as torchvision has it."""
    x = net.depthwise(net.conv(net.image, _eighths(32 * wide), 3, 2))
    x = net.conv(x, _eighths(16 * wide), act="")
    rows = (
        (3, 24, 3, 2, 3),
        (3, 40, 3, 2, 5),
        (6, 80, 3, 2, 5),
        (6, 96, 2, 1, 3),
        (6, 192, 4, 2, 5),
        (6, 320, 1, 1, 3),
    )
    _inverted(net, x, [(t, _eighths(c * wide), n, s, k) for t, c, n, s, k in rows], "Relu", 1280, classes)


def _inverted(
    net: Layers, x: Shape, rows: Sequence[tuple[int, int, int, int, int]], act: str, last: int, classes: int
) -> None:
    for expansion, out, count, strides, window in rows:
        for block in range(count):
            stride = 1 if block else strides
            y = net.conv(x, expansion * x[1], act=act) if expansion > 1 else x
            y = net.depthwise(y, window, stride, act)
            x = net.conv(y, out, act="", add=stride == 1 and x[1] == out)
    _head(net, net.conv(x, last, act=act), classes)


def shufflenet_v2(net: Layers, classes: int, widths: Sequence[int]) -> None:
    """Ma et al. 2018."""
    x = net.pool(net.conv(net.image, 24, 3, 2), 3, 2)
    for width, count in zip(widths, (4, 8, 4), strict=False):
        half = width // 2
        for block in range(count):
            stride = 1 if block else 2
            if stride == 2:
                net.conv(net.depthwise(x, 3, 2, act=""), half)
            else:
                x = net.shuffle(net.shuffle((1, half, *x[2:])))
            y = net.conv(x, half)
            y = net.conv(net.depthwise(y, 3, stride, act=""), half)
            x = net.shuffle((1, width, *y[2:]))
    _head(net, net.conv(x, widths[3]), classes)


NETWORKS: dict[str, Builder] = {
    "resnet18": partial(resnet, blocks=(2, 2, 2, 2), deep=False),
    "resnet34": partial(resnet, blocks=(3, 4, 6, 3), deep=False),
    "resnet50": partial(resnet, blocks=(3, 4, 6, 3), deep=True),
    "resnet101": partial(resnet, blocks=(3, 4, 23, 3), deep=True),
    "resnet152": partial(resnet, blocks=(3, 8, 36, 3), deep=True),
    "mobilenetv3-small": partial(mobilenet_v3, rows=_SMALL, hidden=1024),
    "mobilenetv3-large": partial(mobilenet_v3, rows=_LARGE, hidden=1280),
    "mixnet-s": partial(mixnet, rows=_MIX_S, stem=16, wide=1.0),
    "mixnet-m": partial(mixnet, rows=_MIX_M, stem=24, wide=1.0),
    "mixnet-l": partial(mixnet, rows=_MIX_M, stem=24, wide=1.3),
    "efficientformer-l1": efficientformer_l1,
    "alexnet": alexnet,
    "squeezenet1_0": partial(squeezenet, first=96),
    "squeezenet1_1": partial(squeezenet, first=64),
    "vgg11": partial(vgg, blocks=(1, 1, 2, 2, 2)),
    "vgg13": partial(vgg, blocks=(2, 2, 2, 2, 2)),
    "vgg16": partial(vgg, blocks=(2, 2, 3, 3, 3)),
    "vgg19": partial(vgg, blocks=(2, 2, 4, 4, 4)),
    "densenet121": partial(densenet, blocks=(6, 12, 24, 16)),
    "densenet169": partial(densenet, blocks=(6, 12, 32, 32)),
    "densenet201": partial(densenet, blocks=(6, 12, 48, 32)),
    "densenet161": partial(densenet, blocks=(6, 12, 36, 24), growth=48, first=96),
    "mobilenet_v2": mobilenet_v2,
    "mnasnet0_5": partial(mnasnet, wide=0.5),
    "mnasnet0_75": partial(mnasnet, wide=0.75),
    "mnasnet1_0": partial(mnasnet, wide=1.0),
    "mnasnet1_3": partial(mnasnet, wide=1.3),
    "shufflenet_v2_x0_5": partial(shufflenet_v2, widths=(48, 96, 192, 1024)),
    "shufflenet_v2_x1_0": partial(shufflenet_v2, widths=(116, 232, 464, 1024)),
    "shufflenet_v2_x1_5": partial(shufflenet_v2, widths=(176, 352, 704, 1024)),
    "shufflenet_v2_x2_0": partial(shufflenet_v2, widths=(244, 488, 976, 2048)),
}


def kernels(name: str, classes: int, size: int = 224) -> list[FusedKernel]:
    """Return the fused kernels of a classifier for square images."""
    net = Layers(size)
    NETWORKS[name](net, classes)
    return net.kernels
