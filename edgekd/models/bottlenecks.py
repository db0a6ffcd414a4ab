"""The stages of MobileNetV2 for small images (Sandler et al. 2018, table 2), for the network and its search space."""

from __future__ import annotations

import math
from typing import NamedTuple

# Channels, repeats, stride at width and depth 1. Strides of 1 in the first two rows, as images are small.
_STAGES = ((16, 1, 1), (24, 2, 1), (32, 3, 2), (64, 4, 2), (96, 3, 1), (160, 3, 2), (320, 1, 1))


class Stage(NamedTuple):
    """Bottlenecks in a row, the first of which has the stride."""

    channels: int
    repeats: int
    stride: int
    expansion: int


def stages(width: float, depth: float, expansion: int, step: int) -> list[Stage]:
    """Return the stages of a size; the first one does not expand."""
    return [
        Stage(rounded(channels * width, step), max(1, math.ceil(repeats * depth)), stride, expansion if number else 1)
        for number, (channels, repeats, stride) in enumerate(_STAGES)
    ]


def rounded(channels: float, step: int) -> int:
    """Return the nearest multiple of the step, one step at least."""
    return max(step, round(channels / step) * step)
