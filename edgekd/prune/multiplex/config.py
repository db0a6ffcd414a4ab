"""The options of the multiplex stage."""

from __future__ import annotations

from typing import Self

from edgekd.schema import Field, Schema, model_validator
from edgekd.train.optimizer import LoopConfig


class ImitationConfig(LoopConfig):
    """How the network learns from the one it was made of."""

    label_weight: float = Field(default=0.5, ge=0, le=1e6, description="factor of the cross-entropy with the labels")
    logits_weight: float = Field(
        default=0.5, ge=0, le=1e6, description="factor of the divergence from the origin's probabilities"
    )
    temperature: float = Field(default=2.0, gt=0, le=100, description="softens both probabilities")
    attention_weight: float = Field(
        default=0.5, ge=0, le=1e6, description="factor of the relations between queries, keys and values"
    )
    hidden_weight: float = Field(default=0.5, ge=0, le=1e6, description="factor of the relations between hidden states")

    @model_validator(mode="after")
    def _learns_something(self) -> Self:
        if not (self.label_weight or self.logits_weight or self.attention_weight or self.hidden_weight):
            raise ValueError(
                "nothing to learn from: give a label_weight, logits_weight, attention_weight or hidden_weight above 0"
            )
        return self


class MultiplexConfig(Schema):
    """How many layers share their weights, what stays their own, and how the network is trained then."""

    share: int = Field(default=2, ge=1, le=64, description="consecutive blocks with one set of weights")
    heads: bool = Field(default=True, description="maps of a block's own over its heads, before and after the softmax")
    neighbours: bool = Field(
        default=True, description="a depthwise convolution of a block's own before its feed-forward part"
    )
    recovery: ImitationConfig | None = Field(
        default=ImitationConfig(epochs=15, batch=32, optimizer="adamw", learning_rate=1e-3, weight_decay=0.05),
        description="training under the network as it was; null: none",
    )
