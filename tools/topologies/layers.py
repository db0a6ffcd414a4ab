"""The layers of convolutional networks and transformers as an exporter of torch writes them, on top of the builder."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from tools.topologies.builder import Builder, Pair, Value

ACTIVATIONS: dict[str, tuple[str, dict[str, float]]] = {
    "relu": ("Relu", {}),
    "leaky": ("LeakyRelu", {"alpha": 0.1}),
    "sigmoid": ("Sigmoid", {}),
    "hsigmoid": ("HardSigmoid", {"alpha": 1 / 6, "beta": 0.5}),
    "hswish": ("HardSwish", {}),
    "tanh": ("Tanh", {}),
    "gelu": ("Gelu", {}),
}
"""Those of one operator; opset 20 has the last."""


class Layers(Builder):
    """A graph being written layer by layer; images are (1, channels, height, width), texts (1, tokens, features)."""

    def conv(
        self,
        x: Value,
        channels: int,
        kernel: Pair = 3,
        stride: Pair = 1,
        act: str = "",
        *,
        groups: int = 1,
        pads: Sequence[int] | None = None,
        dilation: int = 1,
        norm: bool = False,
    ) -> Value:
        """Convolve, with `norm` left as BatchNormalization, else as a bias; `pads` are top, left, bottom, right.

        Without `pads` a stride of 1 keeps height and width, as odd kernels do in torch.
        """
        window, steps = _pair(kernel), _pair(stride)
        edges = [*([(k - 1) * dilation // 2 for k in window] * 2)] if pads is None else list(pads)
        sizes = _sizes(x, [(k - 1) * dilation + 1 for k in window], steps, edges)
        fan = x.channels // groups
        weights = [self.weight((channels, fan, *window), fan * math.prod(window), 2.0 if act else 1.0)]
        weights += [] if norm else [self.vector(channels)]
        y = self.op(
            "Conv",
            [x, *weights],
            (1, channels, *sizes),
            kernel_shape=window,
            strides=steps,
            pads=edges,
            group=groups,
            dilations=[dilation] * 2,
        )
        return self.act(self.batch_norm(y) if norm else y, act)

    def depthwise(self, x: Value, kernel: Pair = 3, stride: Pair = 1, act: str = "", *, norm: bool = False) -> Value:
        """Convolve each channel by itself."""
        return self.conv(x, x.channels, kernel, stride, act, groups=x.channels, norm=norm)

    def conv_transpose(self, x: Value, channels: int, kernel: int = 2, stride: int = 2, act: str = "") -> Value:
        """Enlarge by `stride`."""
        pad = (kernel - stride) // 2
        weight = self.weight((x.channels, channels, kernel, kernel), x.channels * (kernel // stride) ** 2, 2.0)
        shape = (1, channels, x.shape[2] * stride, x.shape[3] * stride)
        inputs = [x, weight, self.vector(channels)]
        y = self.op("ConvTranspose", inputs, shape, kernel_shape=[kernel] * 2, strides=[stride] * 2, pads=[pad] * 4)
        return self.act(y, act)

    def batch_norm(self, x: Value) -> Value:
        """Normalise by stored moments."""
        size = x.channels
        moments = [self.vector(size, 1.0, 0.2), self.vector(size), self.vector(size), self.vector(size, 1.0, 0.2)]
        return self.op("BatchNormalization", [x, *moments], x.shape)

    def act(self, x: Value, kind: str) -> Value:
        """Apply an activation by its usual name; "" is none, `x_decomposed` is what older exporters write for x."""
        if not kind:
            return x
        if kind in ACTIVATIONS:
            operator, attributes = ACTIVATIONS[kind]
            return self.op(operator, [x], x.shape, **attributes)
        if kind == "relu6":
            return self.op("Clip", [x, self.constant(0.0), self.constant(6.0)], x.shape)
        if kind == "gelu_decomposed":
            erf = self.op("Erf", [self.op("Div", [x, self.constant(math.sqrt(2))], x.shape)], x.shape)
            return self.mul(self.mul(x, self.add(erf, self.constant(1.0))), self.constant(0.5))
        gate = {"silu": "sigmoid", "hswish_decomposed": "hsigmoid"}[kind]
        return self.mul(x, self.act(x, gate))

    def max_pool(self, x: Value, kernel: int = 2, stride: int = 2, pads: Sequence[int] = (0, 0, 0, 0)) -> Value:
        """Take the largest of each window."""
        sizes = _sizes(x, (kernel, kernel), (stride, stride), pads)
        window = {"kernel_shape": [kernel] * 2, "strides": [stride] * 2, "pads": list(pads)}
        return self.op("MaxPool", [x], (1, x.channels, *sizes), **window)

    def average_pool(self, x: Value, kernel: int = 2, stride: int = 2) -> Value:
        """Take the mean of each window."""
        sizes = _sizes(x, (kernel, kernel), (stride, stride), (0, 0, 0, 0))
        return self.op("AveragePool", [x], (1, x.channels, *sizes), kernel_shape=[kernel] * 2, strides=[stride] * 2)

    def global_pool(self, x: Value) -> Value:
        """Take the mean of each channel: (1, channels, 1, 1)."""
        return self.op("GlobalAveragePool", [x], (1, x.channels, 1, 1))

    def mean(self, x: Value, *axes: int) -> Value:
        """Take the mean over these axes, which vanish."""
        shape = [size for axis, size in enumerate(x.shape) if axis not in axes]
        if self.opset < 18:
            return self.op("ReduceMean", [x], shape, axes=axes, keepdims=0)
        return self.op("ReduceMean", [x, self.constant(axes, np.int64)], shape, keepdims=0)

    def flatten(self, x: Value) -> Value:
        """Return all values in one row."""
        return self.op("Flatten", [x], (1, math.prod(x.shape)), axis=1)

    def linear(self, x: Value, features: int, act: str = "") -> Value:
        """Apply a fully connected layer to one row: Gemm."""
        inputs = x.shape[1]
        weights = [self.weight((features, inputs), inputs, 2.0 if act else 1.0), self.vector(features)]
        return self.act(self.op("Gemm", [x, *weights], (1, features), transB=1), act)

    def classify(self, x: Value, classes: int) -> Value:
        """Average each channel and classify: GlobalAveragePool, Flatten, Gemm."""
        return self.linear(self.flatten(self.global_pool(x)), classes)

    def project(self, x: Value, features: int, act: str = "") -> Value:
        """Apply a fully connected layer along the last axis of more than two: MatMul and Add."""
        inputs = x.shape[-1]
        y = self.op("MatMul", [x, self.weight((inputs, features), inputs)], (*x.shape[:-1], features))
        return self.act(self.op("Add", [self.vector(features), y], y.shape), act)

    def matmul(self, x: Value, y: Value) -> Value:
        """Multiply two activations."""
        return self.op("MatMul", [x, y], (*x.shape[:-1], y.shape[-1]))

    def layer_norm(self, x: Value) -> Value:
        """Normalise along the last axis."""
        size = x.shape[-1]
        weights = [self.vector(size, 1.0), self.vector(size)]
        return self.op("LayerNormalization", [x, *weights], x.shape, axis=-1, epsilon=1e-6)

    def softmax(self, x: Value) -> Value:
        """Normalise along the last axis to a sum of 1."""
        return self.op("Softmax", [x], x.shape, axis=-1)

    def add(self, x: Value, y: Value) -> Value:
        """Add; `y` may be smaller and is spread."""
        return self.op("Add", [x, y], x.shape)

    def mul(self, x: Value, y: Value) -> Value:
        """Multiply element by element; `y` may be smaller and is spread."""
        return self.op("Mul", [x, y], x.shape)

    def concat(self, *values: Value, axis: int = 1) -> Value:
        """Join along an axis."""
        shape = list(values[0].shape)
        shape[axis] = sum(value.shape[axis] for value in values)
        return self.op("Concat", values, shape, axis=axis)

    def split(self, x: Value, *sizes: int) -> list[Value]:
        """Cut the channels into parts of these sizes."""
        shapes = [(1, size, *x.shape[2:]) for size in sizes]
        return self.ops("Split", [x, self.constant(sizes, np.int64)], *shapes, axis=1)

    def reshape(self, x: Value, *shape: int) -> Value:
        """Give the values another shape."""
        return self.op("Reshape", [x, self.constant(shape, np.int64)], shape)

    def transpose(self, x: Value, *order: int) -> Value:
        """Reorder the axes."""
        return self.op("Transpose", [x], [x.shape[axis] for axis in order], perm=order)

    def resize(self, x: Value, factor: int, mode: str = "nearest") -> Value:
        """Enlarge an image by repeating pixels, or "linear" between them."""
        empty = self.constant(np.zeros(0, np.float32))
        scales = self.constant([1, 1, factor, factor])
        how = {"nearest": "asymmetric", "linear": "half_pixel"}[mode]
        floor = {"nearest_mode": "floor"} if mode == "nearest" else {}
        shape = (1, x.channels, x.shape[2] * factor, x.shape[3] * factor)
        return self.op("Resize", [x, empty, scales], shape, mode=mode, coordinate_transformation_mode=how, **floor)


def same_upper(x: Value, kernel: int, stride: int) -> list[int]:
    """Return the pads by which TensorFlow divides a size by a stride: the odd one goes below and to the right."""
    wanted = [max(0, (math.ceil(size / stride) - 1) * stride + kernel - size) for size in x.shape[2:]]
    return [*(pad // 2 for pad in wanted), *(pad - pad // 2 for pad in wanted)]


def divisible(channels: float, step: int = 8) -> int:
    """Round to a multiple of `step`, by at most 10 % down: how the MobileNet papers' code scales widths."""
    rounded = max(step, int(channels + step / 2) // step * step)
    return rounded + step if rounded < 0.9 * channels else rounded


def _pair(value: Pair) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else value


def _sizes(x: Value, window: Sequence[int], steps: Sequence[int], pads: Sequence[int]) -> list[int]:
    return [(x.shape[2 + axis] + pads[axis] + pads[axis + 2] - window[axis]) // steps[axis] + 1 for axis in range(2)]
