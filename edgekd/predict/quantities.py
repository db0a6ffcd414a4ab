"""What the cost of a kernel depends on, in numbers: work that adds up, and a description to compare kernels by."""

from __future__ import annotations

from collections.abc import Sequence
from math import gcd, prod

import numpy as np
from numpy.typing import NDArray

from edgekd.kernel import BYTES, FusedKernel

Array = NDArray[np.float64]

WORK = ("call", "macs", "filled_macs", "bytes_read", "bytes_written", "bytes_of_weights", "positions", "ragged_macs")
"""Of one kernel: 1, multiplications, those of channels filled up to whole vectors, bytes, output positions, and the
multiplications once more where the channels of the output are no whole vectors: many a kernel then takes a slow way."""
_LANES = 16
"""Values of a vector register; the description tells by how much channels miss a multiple of it and of half of it."""
_HALF = _LANES // 2
_INTEGERS = 4
"""Bytes that an instruction for integers multiplies at once (VNNI)."""
_FUSED = (
    *("Add", "Mul", "Relu", "Clip", "Sigmoid", "HardSigmoid", "HardSwish", "Swish", "Gelu", "Elu", "Tanh"),
    *("LeakyRelu", "FakeQuantize", "BatchNormalization", "Softplus", "Div"),
)
_EITHER = ("pool", "transpose")
"""Codes whose kernels are others for bytes than for floats."""
_PAGE = 4096
"""Bytes: streams that lie a multiple of it apart fall into the same lines of the first cache."""
_WAYS = 8
_IN_TURNS = (16, 64)
"""Fewest and most channels that OpenVINO writes in turns, a pixel of each; others it writes one after another."""
_TURNS_WAYS = 12
"""Of them find room in a cache a page apart, twice as many half a page apart."""
_FLOAT = 4
"""Bytes of a value that a caller hands over: engines in integers take and give floats, too."""


def footprint(kernels: Sequence[FusedKernel]) -> int:
    """Return the bytes a call of a network reads and writes: beyond the caches' sizes, its kernels find them cold."""
    return sum(k.bytes_of_weights for k in kernels) + max((k.bytes_read + k.bytes_written for k in kernels), default=0)


def handed_over(kernels: Sequence[FusedKernel]) -> tuple[int, int]:
    """Return the bytes of a network's input and output in float32: what its first kernel reads and its last writes."""
    if not kernels:
        return 0, 0
    read = sum(prod(shape) for shape in kernels[0].inputs)
    return _FLOAT * read, _FLOAT * prod(kernels[-1].output)


def law(kernel: FusedKernel) -> str:
    """Return the name under which kernels are compared: the code, and what makes it several times slower."""
    general = ".general" if _is_general(kernel) else ""
    aliased = ".aliased" if kernel.code.removeprefix("q").startswith("reorder") and _is_aliased(kernel) else ""
    last = ".channels_last" if _keeps_last(kernel) else ""
    narrow = ".bytes" if kernel.types[0] in {"u8", "s8"} and kernel.code.startswith(_EITHER) else ""
    return f"{kernel.code}{general}{aliased}{last}{narrow}"


def work(kernels: Sequence[FusedKernel]) -> Array:
    """Return WORK of every kernel, (n, 8), none negative."""
    return np.array([_work(kernel) for kernel in kernels], dtype=np.float64).reshape(-1, len(WORK))


def description(kernels: Sequence[FusedKernel], footprints: Sequence[float]) -> Array:
    """Return logarithms of sizes, shares of filled vectors and what is fused, (n, k); footprints are in bytes."""
    rows = [_described(kernel, size) for kernel, size in zip(kernels, footprints, strict=True)]
    return np.array(rows, dtype=np.float64).reshape(len(rows), -1)


def _work(kernel: FusedKernel) -> tuple[float, ...]:
    inputs, outputs = channels(kernel)
    operations = _operations(kernel)
    filled = operations * (_filled(inputs) / inputs if kernel.weights else 1.0) * _filled(outputs) / outputs
    positions = prod(kernel.output) / outputs
    sizes = (kernel.bytes_read, kernel.bytes_written, kernel.bytes_of_weights)
    ragged = operations if outputs % _LANES else 0
    return (1.0, operations, filled, *sizes, positions, ragged)


def _operations(kernel: FusedKernel) -> int:
    """Return the multiplications; of windows without weights how often something is looked at."""
    return kernel.macs or (prod(kernel.output) * kernel.window if kernel.window > 1 else 0)


def channels(kernel: FusedKernel) -> tuple[int, int]:
    """Return how many channels a kernel combines for one value of its output, and how many it has in its output."""
    if len(kernel.weights) > 2:
        return max(1, kernel.weights[1]), max(1, kernel.output[1])
    if kernel.weights:
        return max(1, kernel.weights[0]), max(1, kernel.output[-1])
    shape = kernel.output
    wide = shape[1] if len(shape) == 4 else shape[-1] if shape else 1
    return 1, max(1, wide)


def _filled(count: int) -> int:
    return -(-count // _LANES) * _LANES


def _alignment(count: int) -> float:
    """Return how often a number can be halved, up to six times: loops over aligned sizes have no remainder."""
    return float(np.log2(gcd(count, 64)))


def _whole(inputs: int, outputs: int) -> tuple[float, ...]:
    """Return whether channels are whole vectors, halves or groups of integers: a step that no slope of sizes follows.

    ONNX Runtime 1.31, depthwise in integers on AVX-512: 20 to 30 ps a multiplication where 16 divides the channels, 60
    to 150 ps where it does not, though 120 channels fill their vectors almost as well as 128.
    """
    sizes = (outputs, _LANES), (outputs, _HALF), (inputs, _LANES), (inputs, _INTEGERS)
    return tuple(float(count % size == 0) for count, size in sizes)


def _described(kernel: FusedKernel, footprint: float) -> tuple[float, ...]:
    inputs, outputs = channels(kernel)
    positions = prod(kernel.output) / outputs
    read = sum(prod(shape) for shape in kernel.inputs)
    last = kernel.output[-1] if kernel.output else 1
    return (
        np.log(inputs),
        np.log(outputs),
        np.log(positions),
        np.log(last),
        np.log(max(read, 1)),
        np.log(prod(kernel.output) or 1),
        np.log(kernel.bytes_of_weights + 1),
        np.log(kernel.window),
        np.log(kernel.strides),
        np.log(kernel.groups),
        len(kernel.inputs),
        inputs / _filled(inputs),
        outputs / _filled(outputs),
        _alignment(inputs),
        _alignment(outputs),
        _alignment(round(positions)),
        *_whole(inputs, outputs),
        np.log(max(kernel.macs, 1) / (kernel.bytes_read + kernel.bytes_written + kernel.bytes_of_weights + 1)),
        np.log(footprint + 1e5),
        np.log(_run(kernel)),
        float(len([size for size in kernel.output if size > 1])),
        *(float(name in kernel.fused) for name in _FUSED),
        float(len(kernel.fused)),
        float(kernel.types[0] in {"u8", "s8"}),
        float(kernel.types[2] in {"u8", "s8"}),
    )


def _keeps_last(kernel: FusedKernel) -> bool:
    """Return whether a map is resized whose channels lie last."""
    resizes = kernel.code.startswith("resize") and len(kernel.output) == 4 and len(kernel.inputs[0]) == 4
    return resizes and kernel.output[1] != kernel.inputs[0][1]


def _is_aliased(kernel: FusedKernel) -> bool:
    """Return whether the channels of an image fall on one another in a cache: whole pages apart, more than its ways.

    What OpenVINO 2026.4 writes channel by channel takes, of 4 KB each, 0.3 ns a value of 15 channels or of 67, 2 ns of
    16, 6 ns of 32 and 10 ns of 48.
    """
    if len(kernel.output) != 4:
        return False
    count, size = kernel.output[1], prod(kernel.output[2:]) * BYTES[kernel.types[2]]
    if kernel.code.endswith("reorder.planar"):
        return _IN_TURNS[0] <= count <= _IN_TURNS[1] and count * gcd(size, _PAGE) > _TURNS_WAYS * _PAGE
    return count > _WAYS and size % _PAGE == 0


def _run(kernel: FusedKernel) -> int:
    """Return how many neighbouring values of the output share one way of reading the smallest operand.

    An operand of the output's shape is read along with it, a scalar is kept; one value a channel comes again for every
    position of an image, one a column is read again for every row.
    """
    shape = kernel.output
    smallest = min(kernel.inputs, key=prod, default=shape)
    if prod(smallest) in {1, prod(shape)} or len(smallest) > len(shape):
        return max(prod(shape), 1)
    aligned = (*(1,) * (len(shape) - len(smallest)), *smallest)
    spread = aligned[-1] == 1
    run = 1
    for own, size in zip(reversed(aligned), reversed(shape), strict=True):
        if (own == 1) != spread and size > 1:
            break
        run *= size
    return max(run, 1)


def _is_general(kernel: FusedKernel) -> bool:
    """Return whether a change of axes is more than one axis moved to another place."""
    if len(kernel.inputs) != 1 or prod(kernel.inputs[0]) != prod(kernel.output) or kernel.weights:
        return False
    old, new = ([size for size in shape if size > 1] for shape in (kernel.inputs[0], kernel.output))
    if sorted(old) != sorted(new) or old == new:
        return False
    moved = ([*old[:i], *old[i + 1 :]] for i in range(len(old)))
    return not any(
        new == [*rest[:to], old[i], *rest[to:]] for i, rest in enumerate(moved) for to in range(len(rest) + 1)
    )


DESCRIBED = len(_described(FusedKernel("", "", ((1,),), (1,)), 0.0))
"""How many numbers describe a kernel."""
