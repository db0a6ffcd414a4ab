"""What the latency of a network is made of, summed over its kernels: work that grows in the target's channel steps."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from edgekd.profile import Kernel
from edgekd.target import Precision, Target

FEATURES = ("constant", "kernels", "dense_macs", "grouped_macs", "elements")
"""A call, each operator of it, multiplications of dense and of grouped layers, and values read and written."""

_FIRST_LAYER = 4
"""Engines have kernels of their own for images of up to four channels, so those are not filled up to a whole step."""


def step_of(target: Target, scheme: str) -> int:
    """Return the channel step of the arithmetic a scheme computes in; 1 where the target names none."""
    precision: Precision = "fp32" if scheme == "fp32" else "fp16" if scheme == "fp16" else "int8"
    found = target.channel_step.get(precision)
    return int(found.value) if found else 1


def features(kernels: Iterable[Kernel], step: int) -> NDArray[np.float64]:
    """Return the features of a network, in the order of FEATURES; none falls when a kernel grows or is added."""
    total = np.zeros(len(FEATURES))
    total[0] = 1
    for kernel in kernels:
        total[1:] += _of_kernel(kernel, step)
    return total


def _of_kernel(kernel: Kernel, step: int) -> tuple[float, float, float, float]:
    read = _filled(kernel.in_channels, step) * kernel.in_positions
    written = _filled(kernel.out_channels, step) * kernel.out_positions
    if kernel.op == "elementwise":
        read *= 2  # both operands; a LayerNorm reads its one twice, and GELU computes as long as it could read
    if kernel.op not in {"conv", "linear"}:
        return 1, 0, 0, read + written
    window = kernel.kernel**2 * kernel.out_positions
    if kernel.groups == 1:
        return 1, _filled(kernel.in_channels, step) * _filled(kernel.out_channels, step) * window, 0, read + written
    inputs = kernel.in_channels // kernel.groups
    return 1, 0, inputs * _filled(kernel.out_channels, step) * window, read + written


def _filled(channels: int, step: int) -> int:
    """Return the channels an engine really computes."""
    return min(_FIRST_LAYER, step) if channels <= min(_FIRST_LAYER, step) else -(-channels // step) * step
