"""The options of the cofi stage."""

from __future__ import annotations

from edgekd.distill.teach import TeachConfig
from edgekd.schema import Field, Schema


class CofiConfig(Schema):
    """How sparse the encoder becomes, and how masks and weights are trained."""

    sparsity: float = Field(
        default=0.6,
        gt=0,
        lt=1,
        description="share of the parameters of attention and feed-forward layers that goes",
    )
    epochs: int = Field(default=10, ge=1, le=100_000, description="passes in which masks and weights train together")
    batch: int = Field(default=32, ge=2, le=65_536, description="samples per step")
    learning_rate: float = Field(default=1e-3, gt=0, le=100, description="of the weights at first; falls to zero")
    mask_learning_rate: float = Field(default=0.1, gt=0, le=100, description="of the masks' log alpha")
    multiplier_learning_rate: float = Field(default=0.05, gt=0, le=100, description="of the Lagrangian's multipliers")
    warmup_share: float = Field(
        default=0.5, ge=0, le=1, description="share of all steps over which the target sparsity rises from 0"
    )
    weight_decay: float = Field(default=0.01, ge=0, le=100, description="of the weights, by AdamW")
    label_weight: float = Field(default=0.5, ge=0, le=1e6, description="factor of the cross-entropy with the labels")
    logits_weight: float = Field(
        default=0.5, ge=0, le=1e6, description="factor of the divergence from the unpruned network's probabilities"
    )
    temperature: float = Field(default=2.0, gt=0, le=100, description="softens both probabilities")
    layer_weight: float = Field(
        default=0.5, ge=0, le=1e6, description="factor of the distance from the unpruned network's layers"
    )
    finetune: TeachConfig | None = Field(
        default=TeachConfig(epochs=5, batch=32, optimizer="adamw", learning_rate=1e-3, weight_decay=0.05),
        description="training of the cut network; null: none",
    )
