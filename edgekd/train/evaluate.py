"""What a network answers, and how often it is right."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn


def logits(model: nn.Module, images: NDArray[np.float32], batch: int = 256) -> NDArray[np.float32]:
    """Return the logits (N, classes) of normalised images (N, C, H, W); the model's mode is left as it was."""
    training = {name: module.training for name, module in model.named_modules()}
    model.eval()
    try:
        with torch.inference_mode():
            parts = [
                model(torch.from_numpy(part).contiguous(memory_format=torch.channels_last)).float().numpy()
                for part in np.array_split(np.ascontiguousarray(images), max(1, -(-len(images) // batch)))
            ]
    finally:
        for name, module in model.named_modules():
            module.training = training[name]
    return np.concatenate(parts)


def accuracy(logits: NDArray[np.float32], labels: NDArray[np.int64]) -> float:
    """Return the share of inputs whose highest logit is the label's, in percent."""
    return 100 * float(np.mean(logits.argmax(1) == labels))
