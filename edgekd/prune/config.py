"""The options of the prune stage."""

from __future__ import annotations

from typing import Any

from edgekd.distill.teach import TeachConfig
from edgekd.schema import Field, Schema


class PruneConfig(Schema):
    """How much is pruned, by which measure, and how the network recovers."""

    criterion: str = Field(default="taylor", description="name of the channel importance criterion")
    criterion_options: dict[str, Any] = Field(default_factory=dict, description="options of the criterion")
    samples: int = Field(
        default=512, ge=1, le=1_000_000, description="training images the criterion sees, every class equally often"
    )
    sample_batch: int = Field(default=32, ge=1, le=65_536, description="images per gradient of the criterion")
    allocator: str = Field(default="latency", description="name of what decides the width of each group")
    allocator_options: dict[str, Any] = Field(default_factory=dict, description="options of the allocator")
    speedup: float | None = Field(
        default=None, gt=1, le=100, description="predicted latency before / after; absent: what the budget asks for"
    )
    engines: int = Field(
        default=0,
        ge=0,
        le=10,
        description="engines that may be built and measured before the last training, so that the speedup is one "
        "measured; 0: it is predicted",
    )
    margin: float = Field(
        default=0.93,
        gt=0,
        le=1,
        description="share of the budget's latency limit to aim at; a later round aims as close as the last one was "
        "measured, where that is closer",
    )
    max_ratio: float = Field(default=0.75, gt=0, lt=1, description="largest share of a group's channels that may go")
    channel_step: int | None = Field(
        default=None, ge=1, le=1024, description="widths become multiples of this; absent: the target's own step"
    )
    include: tuple[str, ...] = Field(
        default=("*",), description="layers that may be cut, by patterns of their names such as 'blocks.*'"
    )
    exclude: tuple[str, ...] = Field(
        default=(), description="layers that keep their width, and all that goes together with them, by patterns"
    )
    blocks: int = Field(
        default=0,
        ge=0,
        le=1000,
        description="residual blocks taken out whole before the first cut, those first that change least what they "
        "get (experimental)",
    )
    sensitivity: bool = Field(
        default=False,
        description="before the first cut, note what the network gets right on validation when each group alone is cut "
        "to a half and a quarter, and what that saves",
    )
    steps: int = Field(default=1, ge=1, le=20, description="cuts, each by the same factor, with training in between")
    between_epochs: int = Field(default=2, ge=1, le=100_000, description="epochs of training between two cuts")
    recovery: TeachConfig | None = Field(
        default=TeachConfig(epochs=8, learning_rate=0.05), description="training after the last cut; null: none"
    )
