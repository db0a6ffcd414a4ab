"""The optimizer and the learning rate of every step."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from edgekd.plugins import PluginFolder
from edgekd.schema import Field, Schema, from_mapping


class LoopConfig(Schema):
    """How long and how a network is trained: one cosine from `learning_rate` to zero after a linear warm-up."""

    epochs: int = Field(default=10, ge=1, le=100_000, description="passes over the training data")
    batch: int = Field(default=128, ge=2, le=65_536, description="samples per step, over all processes")
    optimizer: str = Field(default="sgd", description="name of an optimizer; sgd is with Nesterov momentum")
    optimizer_options: dict[str, Any] = Field(default_factory=dict, description="options of the optimizer")
    learning_rate: float = Field(default=0.1, gt=0, le=100, description="the highest one, after the warm-up")
    warmup_share: float = Field(default=0.15, ge=0, lt=1, description="share of all steps with a rising learning rate")
    momentum: float = Field(default=0.9, ge=0, lt=1, description="of sgd; the first beta of adamw")
    weight_decay: float = Field(
        default=5e-4, ge=0, le=100, description="of matrices and kernels; never of norms and biases"
    )
    clip: float | None = Field(default=None, gt=0, le=1e6, description="largest norm of the gradient; off when absent")
    precision: Literal["fp32", "bf16", "fp16"] = Field(
        default="fp32", description="bf16, fp16: autocast of forward and backward, fp16 with a scaled loss"
    )
    ema: float | None = Field(
        default=None, gt=0, lt=1, description="decay of an average over the weights of all steps, which is what stays"
    )
    patience: int | None = Field(
        default=None, ge=1, description="epochs without a better validation after which the best weights are taken"
    )
    compile: Literal["never", "auto"] = Field(
        default="never", description="auto: torch.compile where 20 timed steps say that it pays within this training"
    )

    @property
    def all_epochs(self) -> int:
        """Return the epochs of all trainings like this one that a stage does."""
        return self.epochs


class Optimizer(ABC):
    """Contract of an optimizer: builds one of torch's over parameter groups."""

    Config: ClassVar[type[Schema]] = Schema

    def __init__(self, config: Schema) -> None:
        self.config = config

    @abstractmethod
    def build(self, groups: list[dict[str, Any]], loop: LoopConfig) -> torch.optim.Optimizer:
        """Return an optimizer over groups that carry `params` and `weight_decay`."""


class TwoGradients(torch.optim.Optimizer):
    """An optimizer that treats the teacher's gradient in a way of its own: `grad` holds that of the whole loss."""

    teacher_gradients: Sequence[Tensor | None] = ()
    """The part of the gradient that the teacher's term gave, in the order of `parameters_of`; set before each step."""


OPTIMIZERS: PluginFolder[Optimizer] = PluginFolder("edgekd.train.optimizers", Optimizer)  # type: ignore[type-abstract]


def optimizer(model: nn.Module, config: LoopConfig, beside: Iterable[nn.Parameter] = ()) -> torch.optim.Optimizer:
    """Return the optimizer over the trainable parameters of the model and those `beside` it.

    Only parameters of two dimensions or more decay. Raises UsageError for an unknown name or option.
    """
    trainable = [parameter for parameter in (*model.parameters(), *beside) if parameter.requires_grad]
    groups = [
        {"params": [p for p in trainable if p.dim() > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in trainable if p.dim() <= 1], "weight_decay": 0.0},
    ]
    return chosen(config).build([group for group in groups if group["params"]], config)


def chosen(config: LoopConfig) -> Optimizer:
    """Return the optimizer a training names; raises UsageError for an unknown name or option."""
    kind = OPTIMIZERS.get(config.optimizer)
    return kind(from_mapping(kind.Config, config.optimizer_options, f"options of optimizer '{config.optimizer}'"))


def parameters_of(step_of: torch.optim.Optimizer) -> list[Tensor]:
    """Return the parameters an optimizer moves, group by group."""
    return [parameter for group in step_of.param_groups for parameter in group["params"]]


def learning_rate(config: LoopConfig, step: int, steps: int) -> float:
    """Return the learning rate of step `step` of `steps`, counted from 0 (Loshchilov and Hutter 2017)."""
    warmup = config.warmup_share * steps
    if step < warmup:
        return config.learning_rate * (step + 1) / (warmup + 1)
    share = (step - warmup) / max(1.0, steps - warmup)
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * share))
