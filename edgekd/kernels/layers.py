"""The layers with weights or windows that probe networks consist of: each adds its nodes to a segment."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod, sqrt
from typing import Any

from edgekd.kernels.segment import Segment

Pair = int | tuple[int, int]


def pair(value: Pair) -> tuple[int, int]:
    """Return (vertical, horizontal) of a value that may be one number for both."""
    return (value, value) if isinstance(value, int) else value


def _padding(net: Segment, size: Sequence[int], kernel: Sequence[int], stride: Sequence[int]) -> list[int]:
    """Return ONNX pads that keep the size, divided by the stride; odd ones as the network's style has them."""
    if not net.same_upper:
        return [*(k // 2 if k >= s else 0 for k, s in zip(kernel, stride, strict=True))] * 2
    total = [max(0, (-(-n // s) - 1) * s + k - n) for n, k, s in zip(size, kernel, stride, strict=True)]
    return [t // 2 for t in total] + [t - t // 2 for t in total]


def _sizes(
    size: Sequence[int], kernel: Sequence[int], stride: Sequence[int], pads: Sequence[int], ceil: bool = False
) -> tuple[int, int]:
    spare = [n + pads[i] + pads[i + 2] - k for i, (n, k) in enumerate(zip(size, kernel, strict=True))]
    up = [s - 1 if ceil else 0 for s in stride]
    return (spare[0] + up[0]) // stride[0] + 1, (spare[1] + up[1]) // stride[1] + 1


def conv(
    net: Segment,
    x: str,
    channels: int,
    kernel: Pair = 3,
    stride: Pair = 1,
    *,
    groups: int = 1,
    bias: bool = True,
    same: bool = True,
    dilation: int = 1,
) -> str:
    """Add a convolution, padded to keep the size unless `same` is False; a tenth of them a BatchNormalization, too."""
    _, inputs, *size = net.shapes[x]
    window, strides = pair(kernel), pair(stride)
    reach = [(k - 1) * dilation + 1 for k in window]
    pads = _padding(net, size, reach, strides) if same else [0] * 4
    fan_in = inputs // groups * prod(window)
    weights = (channels, inputs // groups, *window)
    shape = (1, channels, *_sizes(size, reach, strides, pads))
    normalised = bias and net.dice.chance(0.1)
    names = [x, net.weight("weight", weights, sqrt(2 / fan_in))]
    if bias and not normalised:
        names.append(net.weight("bias", (channels,), 0.1))
    y = net.add(
        "Conv",
        names,
        shape,
        prod(shape) * fan_in,
        kernel_shape=window,
        strides=strides,
        pads=pads,
        group=groups,
        dilations=(dilation, dilation),
    )
    if not normalised:
        return y
    y = batch_norm(net, y)
    return scale_and_shift(net, y) if net.dice.chance(0.25) else y


def depthwise(net: Segment, x: str, kernel: Pair = 3, stride: Pair = 1, *, multiplier: int = 1) -> str:
    """Add a convolution of every channel by itself, with `multiplier` results of each."""
    channels = net.shapes[x][1]
    return conv(net, x, multiplier * channels, kernel, stride, groups=channels)


def conv_transpose(net: Segment, x: str, channels: int, kernel: int = 2) -> str:
    """Add a transposed convolution of stride 2 that doubles the size; `kernel` is 2 or 4."""
    _, inputs, height, width = net.shapes[x]
    shape = (1, channels, 2 * height, 2 * width)
    names = [x, net.weight("weight", (inputs, channels, kernel, kernel), sqrt(2 / (inputs * kernel)))]
    names.append(net.weight("bias", (channels,), 0.1))
    pads = [(kernel - 2) // 2] * 4
    macs = inputs * height * width * channels * kernel * kernel
    return net.add("ConvTranspose", names, shape, macs, kernel_shape=(kernel, kernel), strides=(2, 2), pads=pads)


def pool(net: Segment, x: str, op: str, kernel: int, stride: int, *, same: bool = True, ceil: bool = False) -> str:
    """Add a MaxPool or AveragePool; `ceil`, for one that is not padded, keeps the pixels left over at the rim."""
    _, channels, *size = net.shapes[x]
    window, strides = pair(kernel), pair(stride)
    pads = _padding(net, size, window, strides) if same else [0] * 4
    attributes: dict[str, Any] = {"kernel_shape": window, "strides": strides, "pads": pads}
    if ceil:
        attributes["ceil_mode"] = 1
    return net.add(op, [x], (1, channels, *_sizes(size, window, strides, pads, ceil)), **attributes)


def batch_norm(net: Segment, x: str) -> str:
    """Add a BatchNormalization of NCHW or NC activations."""
    channels = (net.shapes[x][1],)
    names = [
        net.weight("scale", channels, 1.0, positive=True),
        net.weight("shift", channels, 0.1),
        net.weight("mean", channels, 0.1),
        net.weight("variance", channels, 1.0, positive=True),
    ]
    return net.add("BatchNormalization", [x, *names], net.shapes[x])


def scale_and_shift(net: Segment, x: str) -> str:
    """Add a product with and a sum of constants of every channel, as exporters from Caffe write them."""
    shape = (net.shapes[x][1], 1, 1)
    y = net.add("Mul", [x, net.weight("factor", shape, 1.0, positive=True)], net.shapes[x])
    return net.add("Add", [y, net.weight("summand", shape, 0.1)], net.shapes[x])


def layer_norm(net: Segment, x: str) -> str:
    """Add a LayerNormalization over the last axis."""
    features = (net.shapes[x][-1],)
    names = [net.weight("scale", features, 1.0, positive=True), net.weight("shift", features, 0.1)]
    return net.add("LayerNormalization", [x, *names], net.shapes[x], axis=-1, epsilon=1e-6)


def linear(net: Segment, x: str, features: int, bias: bool = True) -> str:
    """Add MatMul and Add on the last axis, the bias on either side as exporters have it."""
    *rows, inputs = net.shapes[x]
    shape = (*rows, features)
    weights = net.weight("weight", (inputs, features), sqrt(1 / inputs))
    y = net.add("MatMul", [x, weights], shape, prod(shape) * inputs)
    if not bias:
        return y
    operands = [net.weight("bias", (features,), 0.1), y]
    return net.add("Add", operands if net.dice.chance(0.5) else operands[::-1], shape)


def gemm(net: Segment, x: str, features: int) -> str:
    """Add a Gemm on (1, inputs), its weights mostly transposed as PyTorch keeps them."""
    inputs = net.shapes[x][1]
    transposed = net.dice.chance(0.8)
    weights = net.weight("weight", (features, inputs) if transposed else (inputs, features), sqrt(2 / inputs))
    names = [x, weights, net.weight("bias", (features,), 0.1)]
    return net.add("Gemm", names, (1, features), features * inputs, transB=int(transposed))


def global_pool(net: Segment, x: str, *, flat: bool = False) -> str:
    """Add the mean over a map in one of the forms exporters write: (1, channels, 1, 1), or (1, channels) if `flat`."""
    channels = net.shapes[x][:2]
    if not flat and net.dice.chance(0.6):
        return net.add("GlobalAveragePool", [x], (*channels, 1, 1))
    return mean(net, x, (2, 3), channels if flat else (*channels, 1, 1))


def mean(net: Segment, x: str, axes: tuple[int, ...], shape: tuple[int, ...]) -> str:
    """Add the mean over some axes; `shape` is the result's and says whether the axes are kept."""
    kept = int(len(shape) == len(net.shapes[x]))
    if net.opset < 18:
        return net.add("ReduceMean", [x], shape, axes=axes, keepdims=kept)
    return net.add("ReduceMean", [x, net.constant("axes", axes)], shape, keepdims=kept)


def flatten(net: Segment, x: str) -> str:
    """Add what makes (1, features) of a map."""
    features = prod(net.shapes[x])
    if net.dice.chance(0.6):
        return net.add("Flatten", [x], (1, features), axis=1)
    return reshape(net, x, (1, features))


def reshape(net: Segment, x: str, shape: tuple[int, ...]) -> str:
    """Add a Reshape."""
    return net.add("Reshape", [x, net.constant("shape", shape)], shape)


def transpose(net: Segment, x: str, order: Sequence[int]) -> str:
    """Add a Transpose."""
    shape = net.shapes[x]
    return net.add("Transpose", [x], tuple(shape[axis] for axis in order), perm=order)


def concat(net: Segment, parts: Sequence[str], axis: int = 1) -> str:
    """Add a Concat along an axis, the channels unless told."""
    shape = list(net.shapes[parts[0]])
    shape[axis] = sum(net.shapes[part][axis] for part in parts)
    return net.add("Concat", parts, tuple(shape), axis=axis)


def split(net: Segment, x: str, sizes: Sequence[int], axis: int = 1) -> tuple[str, ...]:
    """Add a Split into parts of these sizes along an axis, counted from the front."""
    shape = net.shapes[x]
    shapes = [(*shape[:axis], size, *shape[axis + 1 :]) for size in sizes]
    return net.add_split("Split", [x, net.constant("split", tuple(sizes))], shapes, axis=axis)


def add(net: Segment, a: str, b: str) -> str:
    """Add the sum of two activations of one shape."""
    return net.add("Add", [a, b], net.shapes[a])
