"""The optimizer and the learning rate of every step."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import nn

from edgekd.schema import Field, Schema


class LoopConfig(Schema):
    """How long and how a network is trained: one cosine from `learning_rate` to zero after a linear warm-up."""

    epochs: int = Field(default=10, ge=1, le=100_000, description="passes over the training images")
    batch: int = Field(default=128, ge=2, le=65_536, description="images per step")
    optimizer: Literal["sgd", "adamw"] = Field(default="sgd", description="sgd is with Nesterov momentum")
    learning_rate: float = Field(default=0.1, gt=0, le=100, description="the highest one, after the warm-up")
    warmup_share: float = Field(default=0.15, ge=0, lt=1, description="share of all steps with a rising learning rate")
    momentum: float = Field(default=0.9, ge=0, lt=1, description="of sgd; the first beta of adamw")
    weight_decay: float = Field(
        default=5e-4, ge=0, le=100, description="of matrices and kernels; never of norms and biases"
    )
    clip: float | None = Field(default=None, gt=0, le=1e6, description="largest norm of the gradient; off when absent")
    precision: Literal["fp32", "bf16"] = Field(default="fp32", description="bf16: autocast of forward and backward")


def optimizer(model: nn.Module, config: LoopConfig) -> torch.optim.Optimizer:
    """Return the optimizer over the trainable parameters; only those of two dimensions or more decay."""
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in trainable if p.dim() > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in trainable if p.dim() <= 1], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    if config.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=config.learning_rate, betas=(config.momentum, 0.999))
    return torch.optim.SGD(groups, lr=config.learning_rate, momentum=config.momentum, nesterov=config.momentum > 0)


def learning_rate(config: LoopConfig, step: int, steps: int) -> float:
    """Return the learning rate of step `step` of `steps`, counted from 0 (Loshchilov and Hutter 2017)."""
    warmup = config.warmup_share * steps
    if step < warmup:
        return config.learning_rate * (step + 1) / (warmup + 1)
    share = (step - warmup) / max(1.0, steps - warmup)
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * share))
