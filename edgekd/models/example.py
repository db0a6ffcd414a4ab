"""An input of a given shape, for those who only want to see what a network does with one."""

from __future__ import annotations

import torch
from torch import Tensor


def example(input_shape: tuple[int, ...], samples: int, device: torch.device | None = None) -> Tensor:
    """Return zeros (samples, *input_shape): float32 images, int64 tokens where the shape is (tokens,)."""
    kind = torch.int64 if len(input_shape) == 1 else torch.float32
    return torch.zeros(samples, *input_shape, dtype=kind, device=device)
