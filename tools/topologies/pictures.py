"""Networks whose output is a picture or a grid: U-Nets, detectors, autoencoder, super-resolution, segmentation."""

from __future__ import annotations

from functools import partial

from onnx import ModelProto

from tools.topologies.builder import Value
from tools.topologies.layers import Layers
from tools.topologies.mobile import Inverted, inverted, v2_blocks


def unet(resolution: int, width: int, *, transposed: bool = False, norm: bool = False) -> ModelProto:
    """U-Net of four halvings; upwards by repeated pixels and a convolution, or by transposed ones (1505.04597)."""
    net = Layers()

    def twice(x: Value, channels: int) -> Value:
        y = net.conv(x, channels, 3, 1, "relu", norm=norm)
        return net.conv(y, channels, 3, 1, "relu", norm=norm)

    x = twice(net.input(3, resolution, resolution), width)
    passed = []
    for level in range(1, 5):
        passed.append(x)
        x = twice(net.max_pool(x), width << level)
    for skip in reversed(passed):
        if transposed:
            x = net.conv_transpose(x, skip.channels)
        else:
            x = net.conv(net.resize(x, 2), skip.channels, 3, 1, "relu", norm=norm)
        x = twice(net.concat(skip, x), skip.channels)
    return net.model(net.act(net.conv(x, 1, 1), "sigmoid"))


def tiny_yolo_v2(resolution: int) -> ModelProto:
    """Tiny YOLOv2 for 20 classes and 5 anchors."""
    net = Layers()
    x = net.input(3, resolution, resolution)
    for width in (16, 32, 64, 128, 256):
        x = net.max_pool(net.conv(x, width, 3, 1, "leaky", norm=True))
    x = net.max_pool(net.conv(x, 512, 3, 1, "leaky", norm=True), 2, 1, (0, 0, 1, 1))
    x = net.conv(net.conv(x, 1024, 3, 1, "leaky", norm=True), 1024, 3, 1, "leaky", norm=True)
    return net.model(net.conv(x, 125, 1))


def tiny_yolo_v3(resolution: int) -> ModelProto:
    """Tiny YOLOv3 with half the widths: two grids, the finer one reads the coarser one enlarged."""
    net = Layers()
    x = net.input(3, resolution, resolution)
    for width in (8, 16, 32, 64):
        x = net.max_pool(net.conv(x, width, 3, 1, "leaky"))
    fine = net.conv(x, 128, 3, 1, "leaky")
    x = net.max_pool(net.conv(net.max_pool(fine), 256, 3, 1, "leaky"), 2, 1, (0, 0, 1, 1))
    x = net.conv(net.conv(x, 512, 3, 1, "leaky"), 128, 1, 1, "leaky")
    coarse = net.conv(net.conv(x, 256, 3, 1, "leaky"), 255, 1)
    up = net.resize(net.conv(x, 64, 1, 1, "leaky"), 2)
    y = net.conv(net.concat(up, fine), 128, 3, 1, "leaky")
    return net.model(coarse, net.conv(y, 255, 1))


def autoencoder(resolution: int) -> ModelProto:
    """Strided convolutions down, transposed ones of 4x4 up."""
    net = Layers()
    x = net.input(3, resolution, resolution)
    for width in (32, 64, 128, 128):
        x = net.conv(x, width, 4, 2, "relu", pads=(1, 1, 1, 1))
    for width in (128, 64, 32):
        x = net.conv_transpose(x, width, 4, 2, "relu")
    return net.model(net.act(net.conv_transpose(x, 3, 4, 2), "sigmoid"))


def espcn(resolution: int, factor: int) -> ModelProto:
    """Super-resolution whose last step orders channels into pixels (1609.05158)."""
    net = Layers()
    x = net.conv(net.input(1, resolution, resolution), 64, 5, 1, "tanh")
    x = net.conv(net.conv(x, 32, 3, 1, "tanh"), factor**2, 3)
    shape = (1, 1, resolution * factor, resolution * factor)
    return net.model(net.op("DepthToSpace", [x], shape, blocksize=factor, mode="CRD"))


def deeplab(resolution: int) -> ModelProto:
    """DeepLabv3 on half a MobileNetV2: dilated convolutions side by side, enlarged linearly (1706.05587)."""
    net = Layers()
    x = net.conv(net.input(3, resolution, resolution), 16, 3, 2, "relu6")
    for block in v2_blocks(0.5)[:13]:
        x = inverted(net, x, block)
    x = inverted(net, x, Inverted(x.channels * 6, 80))
    parts = [net.conv(x, 64, 1, 1, "relu")]
    parts += [net.conv(x, 64, 3, 1, "relu", dilation=rate) for rate in (2, 4, 6)]
    x = net.conv(net.concat(*parts), 64, 1, 1, "relu")
    return net.model(net.resize(net.conv(x, 21, 1), 16, "linear"))


TOPOLOGIES = {
    "unet_128": partial(unet, 128, 16),
    "unet_transposed_96": partial(unet, 96, 24, transposed=True, norm=True),
    "tiny_yolo_v2_224": partial(tiny_yolo_v2, 224),
    "tiny_yolo_v3_half_256": partial(tiny_yolo_v3, 256),
    "autoencoder_64": partial(autoencoder, 64),
    "espcn_x3_72": partial(espcn, 72, 3),
    "deeplab_mobilenet_v2_192": partial(deeplab, 192),
}
