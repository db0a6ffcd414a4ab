"""What a network asks of a device, counted from its kernels: the terms of a roofline, before any speed is known."""

from __future__ import annotations

from collections.abc import Iterable
from math import prod

import numpy as np
from numpy.typing import NDArray

from edgekd.kernel import FusedKernel

Array = NDArray[np.float64]

TERMS = (
    "dense_macs",
    "depthwise_macs",
    "dense_bytes",
    "depthwise_bytes",
    "other_bytes",
    "reused_weight_bytes",
    "streamed_weight_bytes",
    "kernels",
)
"""Multiplications in whole tiles; activations read and written by dense, by depthwise and by kernels that multiply
nothing; weights used at many positions and at few; and the kernels themselves."""

_TILE = 32
"""Channels and positions are computed in tiles of at least so many."""
_FEW_POSITIONS = 8
"""Up to so many positions nothing is worth a tile: the weights stream through once and set the time."""
_WINOGRAD = 2.25
"""Multiplications that F(2x2, 3x3) saves in 3x3 convolutions of stride 1 (Lavin and Gray 2016)."""


def work(kernels: Iterable[FusedKernel]) -> Array:
    """Return how much of each of TERMS a network needs, (8,)."""
    total = np.zeros(len(TERMS))
    for kernel in kernels:
        total += _of_kernel(kernel)
    return total


def _of_kernel(kernel: FusedKernel) -> tuple[float, ...]:
    moved = float(kernel.bytes_read + kernel.bytes_written)
    if not kernel.macs:
        return 0, 0, 0, 0, moved, 0, 0, 1
    convolution = len(kernel.weights) > 2
    if convolution and kernel.groups > 1 and kernel.weights[1] == 1:
        return 0, kernel.macs, 0, moved, 0, kernel.bytes_of_weights, 0, 1
    channels = kernel.weights[0] if convolution else kernel.output[-1]
    positions = prod(kernel.output) // channels
    if positions <= _FEW_POSITIONS:
        return 0, 0, moved, 0, 0, 0, kernel.bytes_of_weights, 1
    macs = kernel.macs * _filled(channels // kernel.groups) * _filled(positions)
    if convolution and kernel.window == 9 and kernel.strides == 1:
        macs /= _WINOGRAD
    return macs, 0, moved, 0, 0, kernel.bytes_of_weights, 0, 1


def _filled(count: int) -> float:
    """Return by which factor whole tiles are more than what is asked for."""
    return -(-count // _TILE) * _TILE / count
