"""What a network answers, and how often it is right."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edgekd.models.mode import evaluating


def logits(model: nn.Module, inputs: NDArray[Any], batch: int = 256) -> NDArray[np.float32]:
    """Return the logits (N, ..., classes) of what the network eats (N, ...); the model's mode is left as it was."""
    with evaluating(model), torch.inference_mode():
        parts = [
            model(laid_out(torch.from_numpy(part))).float().numpy()
            for part in np.array_split(np.ascontiguousarray(inputs), max(1, -(-len(inputs) // batch)))
        ]
    return np.concatenate(parts)


def accuracy(logits: NDArray[np.float32], labels: NDArray[np.int64]) -> float:
    """Return the share of inputs whose highest logit is the label's, in percent."""
    return 100 * float(np.mean(logits.argmax(-1) == labels))


def laid_out(inputs: Tensor, layout: torch.memory_format = torch.channels_last) -> Tensor:
    """Return inputs in a memory format; only images (N, C, H, W) have one."""
    return inputs.contiguous(memory_format=layout) if inputs.dim() == 4 else inputs
