"""Networks without residual sums: LeNet, VGG, SqueezeNet, DenseNet, NiN, DS-CNN and fully connected ones."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from onnx import ModelProto

from tools.topologies.layers import Layers


def lenet5() -> ModelProto:
    """LeNet-5 as taught: tanh, average pooling, 5x5 convolutions without pads."""
    net = Layers()
    x = net.conv(net.input(1, 28, 28), 6, 5, 1, "tanh")
    x = net.conv(net.average_pool(x), 16, 5, 1, "tanh", pads=(0, 0, 0, 0))
    x = net.flatten(net.average_pool(x))
    return net.model(net.linear(net.linear(net.linear(x, 120, "tanh"), 84, "tanh"), 10))


POOL = 0
VGG11 = (64, POOL, 128, POOL, 256, 256, POOL, 512, 512, POOL, 512, 512, POOL)
VGG16 = (64, 64, POOL, 128, 128, POOL, 256, 256, 256, POOL, 512, 512, 512, POOL, 512, 512, 512, POOL)


def vgg(shape: Sequence[int], layers: Sequence[int], hidden: Sequence[int] = (), *, norm: bool = False) -> ModelProto:
    """VGG of these widths, halved where one is POOL, with these fully connected layers before the last."""
    net = Layers()
    x = net.input(*shape)
    for width in layers:
        x = net.conv(x, width, 3, 1, "relu", norm=norm) if width else net.max_pool(x)
    x = net.flatten(x)
    for width in hidden:
        x = net.linear(x, width, "relu")
    return net.model(net.linear(x, 10))


def squeezenet_1_0(resolution: int) -> ModelProto:
    """SqueezeNet 1.0: squeeze to few channels, expand by 1x1 and 3x3 convolutions side by side (1602.07360)."""
    net = Layers()
    none = (0, 0, 0, 0)
    x = net.conv(net.input(3, resolution, resolution), 96, 7, 2, "relu", pads=none)
    fires = (POOL, 16, 16, 32, POOL, 32, 48, 48, 64, POOL, 64)
    for narrow in fires:
        if narrow:
            y = net.conv(x, narrow, 1, 1, "relu")
            x = net.concat(net.conv(y, 4 * narrow, 1, 1, "relu"), net.conv(y, 4 * narrow, 3, 1, "relu"))
        else:
            x = net.max_pool(x, 3, 2)
    return net.model(net.flatten(net.global_pool(net.conv(x, 1000, 1, 1, "relu"))))


def densenet_bc(depth: int, growth: int) -> ModelProto:
    """DenseNet-BC for 32 pixels: every layer reads all before it, compressed by half between blocks (1608.06993)."""
    net = Layers()
    x = net.conv(net.input(3, 32, 32), 2 * growth, 3)
    for block in range(3):
        if block:
            x = net.conv(net.act(net.batch_norm(x), "relu"), x.channels // 2, 1)
            x = net.average_pool(x)
        for _ in range((depth - 4) // 6):
            y = net.conv(net.act(net.batch_norm(x), "relu"), 4 * growth, 1, 1, "relu", norm=True)
            x = net.concat(x, net.conv(y, growth, 3))
    return net.model(net.classify(net.act(net.batch_norm(x), "relu"), 10))


def nin(width: int) -> ModelProto:
    """Network in network: 1x1 convolutions after each larger one, no fully connected layer (1312.4400)."""
    net = Layers()
    x = net.input(3, 32, 32)
    for stage, (kernel, outputs) in enumerate(((5, width), (5, width), (3, 10))):
        x = net.conv(x, width, kernel, 1, "relu")
        x = net.conv(net.conv(x, width - 32, 1, 1, "relu"), outputs, 1, 1, "relu")
        x = x if stage == 2 else net.max_pool(x, 3, 2, (1, 1, 1, 1))
    return net.model(net.flatten(net.global_pool(x)))


def ds_cnn(width: int) -> ModelProto:
    """DS-CNN for keyword spotting on 49 frames of 10 coefficients (1711.07128)."""
    net = Layers()
    x = net.conv(net.input(1, 49, 10), width, (10, 4), 2, "relu", pads=(4, 1, 5, 1))
    for _ in range(4):
        x = net.conv(net.depthwise(x, 3, 1, "relu"), width, 1, 1, "relu")
    return net.model(net.classify(x, 12))


def perceptron(inputs: int, *widths: int, norm: bool = False) -> ModelProto:
    """Fully connected layers with ReLU; the last has none."""
    net = Layers()
    x = net.input(inputs)
    for width in widths[:-1]:
        x = net.linear(x, width)
        x = net.act(net.batch_norm(x) if norm else x, "relu")
    return net.model(net.linear(x, widths[-1]))


TOPOLOGIES = {
    "lenet5_28": lenet5,
    "vgg11_32": partial(vgg, (3, 32, 32), VGG11, norm=True),
    "vgg16_hidden_32": partial(vgg, (3, 32, 32), VGG16, (512, 512)),
    "squeezenet_1_0_160": partial(squeezenet_1_0, 160),
    "densenet_bc_40_32": partial(densenet_bc, 40, 12),
    "nin_32": partial(nin, 192),
    "ds_cnn_small_49x10": partial(ds_cnn, 64),
    "ds_cnn_large_49x10": partial(ds_cnn, 276),
    "mlp_784": partial(perceptron, 784, 512, 256, 10),
    "mlp_anomaly_640": partial(perceptron, 640, *[128] * 4, 8, *[128] * 4, 640, norm=True),
}
