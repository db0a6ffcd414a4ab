"""How a super network is trained, and how much latency weighs in it."""

from __future__ import annotations

from typing import Any, Self

from edgekd.distill.teach import TeachConfig
from edgekd.schema import Field, model_validator


class KdlDartsConfig(TeachConfig):
    """The weights' training, and beside it that of the alphas."""

    epochs: int = Field(default=12, ge=1, le=100_000, description="passes over the training samples")
    losses: dict[str, dict[str, Any]] = Field(
        default={"logits-kl": {"weight": 1.0}},
        description="distillation losses and their options, lambda1 is their weight; none: no teacher",
    )
    label_weight: float = Field(default=1.0, ge=0, le=1e6, description="factor of the cross-entropy with the labels")
    width: float | None = Field(
        default=None, gt=0, le=4, description="share of the space's channels; the largest of its widths when absent"
    )
    cost_weight: float = Field(
        default=0.3, gt=0, le=1e6, description="lambda2: factor of the expected latency, in units of what is aimed at"
    )
    alpha_learning_rate: float = Field(default=0.02, gt=0, le=10, description="of Adam over the alphas")
    alpha_weight_decay: float = Field(default=1e-3, ge=0, le=1, description="of Adam over the alphas")
    resting_epochs: int = Field(default=2, ge=0, le=100_000, description="epochs in which only the weights move")
    rounds: int = Field(
        default=6, ge=0, le=100, description="how often lambda2 is raised where the derived network is too slow"
    )
    raised_by: float = Field(default=3.0, gt=1, le=1000, description="factor by which lambda2 is raised")
    round_epochs: int = Field(default=2, ge=1, le=100_000, description="epochs after lambda2 was raised")

    @model_validator(mode="after")
    def _alphas_move(self) -> Self:
        if self.resting_epochs >= self.epochs:
            raise ValueError(f"the alphas rest in all of {self.epochs} epochs; give fewer resting_epochs")
        return self

    def again(self) -> Self:
        """Return how the training goes on after lambda2 was raised."""
        return self.replace(epochs=self.round_epochs, resting_epochs=0)
