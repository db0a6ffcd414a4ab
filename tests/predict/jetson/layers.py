"""Kernels of a network written down layer by layer, fused as TensorRT 8 fuses them.

BatchNorm, ReLU, ReLU6 and a sum with an earlier tensor are computed along with a convolution; any other activation is
a kernel of its own, together with the sum behind it. Concatenation costs nothing, because its operands are written side
by side; a slice of channels is a copy.
"""

from __future__ import annotations

from edgekd.kernel import FusedKernel, Shape

_HALF = ("f16", "f16", "f16")
_FUSED = {"", "Relu", "Clip"}


class Layers:
    """Grows a list of fp16 kernels; every method returns the shape (1, channels, height, width) of what it computes."""

    def __init__(self, size: int) -> None:
        self.kernels: list[FusedKernel] = []
        self.image: Shape = (1, 3, size, size)

    def conv(
        self,
        x: Shape,
        out: int,
        window: int | tuple[int, int] = 1,
        stride: int = 1,
        act: str = "Relu",
        groups: int = 1,
        padding: int | None = None,
        add: bool = False,
    ) -> Shape:
        """Add a convolution, padded to keep the size where `padding` is not given.

        `add` sums it with another tensor, before a ReLU and after any other activation.
        """
        high, wide = (window, window) if isinstance(window, int) else window
        rows = (x[2] + 2 * ((high - 1) // 2 if padding is None else padding) - high) // stride + 1
        columns = (x[3] + 2 * ((wide - 1) // 2 if padding is None else padding) - wide) // stride + 1
        y = (1, out, rows, columns)
        alone = act not in _FUSED
        inputs = (x, y) if add and not alone else (x,)
        weights = (out, x[1] // groups, high, wide)
        fused = (("Add",) if add and not alone else ()) + ((act,) if act in _FUSED and act else ())
        self._add("conv", inputs, y, weights, groups, stride**2, high * wide, fused)
        if not alone:
            return y
        return self._add("elementwise", (y, y) if add else (y,), y, fused=(act, "Add") if add else (act,))

    def depthwise(self, x: Shape, window: int = 3, stride: int = 1, act: str = "Relu") -> Shape:
        """Add a depthwise convolution."""
        return self.conv(x, x[1], window, stride, act, groups=x[1])

    def act(self, x: Shape, name: str) -> Shape:
        """Add an activation or normalisation that is a kernel of its own."""
        return self._add("elementwise", (x,), x, fused=(name,))

    def join(self, *inputs: Shape, name: str = "Add") -> Shape:
        """Add an operation between tensors that is a kernel of its own; the first is of the result's shape."""
        return self._add("elementwise", inputs, inputs[0], fused=(name,))

    def pool(self, x: Shape, window: int, stride: int, padding: int | None = None, up: bool = False) -> Shape:
        """Add a pooling; `up` rounds a last incomplete window up to a whole one."""
        pad = (window - 1) // 2 if padding is None else padding
        rows, columns = (
            -(-(n + 2 * pad - window) // stride) if up else (n + 2 * pad - window) // stride for n in x[2:]
        )
        return self._add("pool", (x,), (1, x[1], rows + 1, columns + 1), strides=stride**2, window=window**2)

    def mean(self, x: Shape) -> Shape:
        """Add a pooling to one pixel."""
        return self._add("pool", (x,), (1, x[1], 1, 1), strides=x[2] * x[3], window=x[2] * x[3])

    def squeeze_excite(self, x: Shape, hidden: int, act: str = "Relu") -> Shape:
        """Add squeeze-and-excitation (Hu et al. 2018); its gate is computed along with the product."""
        y = self.conv(self.conv(self.mean(x), hidden, act=act), x[1], act="")
        return self.join(x, y, name="Mul")

    def linear(self, x: Shape, out: int, act: str = "") -> Shape:
        """Add a product with constants, of the last dimension of a sequence or of all values of an image."""
        inside = (1, x[1] * x[2] * x[3]) if len(x) == 4 else x
        y = (*inside[:-1], out)
        self._add("matmul", (inside,), y, (inside[-1], out), fused=(act,) if act in _FUSED and act else ())
        return y if act in _FUSED else self.act(y, act)

    def matmul(self, a: Shape, b: Shape) -> Shape:
        """Add a product of two activations."""
        return self._add("matmul", (a, b), (*a[:-1], b[-1]))

    def resize(self, x: Shape, size: int) -> Shape:
        """Add an interpolation."""
        return self._add("resize", (x,), (1, x[1], size, size))

    def shuffle(self, x: Shape) -> Shape:
        """Add a transposition or a copy."""
        return self._add("shuffle", (x,), x)

    def _add(
        self,
        code: str,
        inputs: tuple[Shape, ...],
        output: Shape,
        weights: Shape = (),
        groups: int = 1,
        strides: int = 1,
        window: int = 1,
        fused: tuple[str, ...] = (),
    ) -> Shape:
        name = f"{code}_{len(self.kernels)}"
        self.kernels.append(FusedKernel(code, name, inputs, output, weights, groups, strides, window, _HALF, fused))
        return output


def concat(*parts: Shape) -> Shape:
    """Return the shape of tensors behind one another; it costs nothing."""
    return (1, sum(part[1] for part in parts), *parts[0][2:])
