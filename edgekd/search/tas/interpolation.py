"""Channel-wise interpolation: any number of channels brought to another by adaptive average pooling over channels."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor, nn


def to_width(x: Tensor, channels: int) -> Tensor:
    """Return images (N, C, H, W) with `channels` channels; those that have as many come back as they are."""
    if x.shape[1] == channels:
        return x
    return nn.functional.conv2d(x, _averages(x.shape[1], channels).to(x.dtype)[:, :, None, None])


@cache
def _averages(inputs: int, outputs: int) -> Tensor:
    """Return the matrix (outputs, inputs) that pools channels: a product is many times faster than the operator."""
    found = torch.zeros(outputs, inputs)
    for row in range(outputs):
        first, last = row * inputs // outputs, -(-(row + 1) * inputs // outputs)
        found[row, first:last] = 1 / (last - first)
    return found
