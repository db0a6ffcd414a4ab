"""The options of the tas stage."""

from __future__ import annotations

from edgekd.schema import Field
from edgekd.train.optimizer import LoopConfig


class TasConfig(LoopConfig):
    """What is chosen among, and how the shared weights and the logits are trained; batch and optimizer are of both."""

    epochs: int = Field(default=20, ge=1, le=100_000, description="passes over the samples that train weights")
    batch: int = Field(default=64, ge=2, le=65_536, description="samples per step, of weights and of logits")
    candidates: int = Field(default=8, ge=2, le=64, description="widths a stage of the network chooses among, at most")
    logits_share: float = Field(
        default=0.3, gt=0, lt=1, description="share of the training samples that train the logits, and no weight"
    )
    logits_learning_rate: float = Field(default=0.02, gt=0, le=10, description="of the logits, by Adam")
    cost_weight: float = Field(default=2.0, ge=0, le=1e6, description="lambda: factor of the cost beside cross-entropy")
    tolerance: float = Field(
        default=0.05, gt=0, lt=1, description="how far below the limit a network may cost, as a share of the limit"
    )
    first_temperature: float = Field(default=10.0, gt=0, le=1e3, description="of the Gumbel-softmax in the first step")
    last_temperature: float = Field(default=0.1, gt=0, le=1e3, description="of the Gumbel-softmax in the last step")
