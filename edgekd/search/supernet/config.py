"""The options of the supernet stage."""

from __future__ import annotations

from typing import Any

from edgekd.distill.teach import TeachConfig
from edgekd.schema import Field


class SupernetConfig(TeachConfig):
    """How shared weights are trained, how many networks are then looked at, and what the student takes from them."""

    epochs: int = Field(default=30, ge=1, le=100_000, description="passes over the training samples")
    batch: int = Field(default=64, ge=2, le=65_536, description="samples per step")
    learning_rate: float = Field(default=0.05, gt=0, le=100, description="the highest one, after the warm-up")
    drawn: int = Field(
        default=2, ge=0, le=16, description="networks drawn in every step, besides the dearest and the cheapest"
    )
    count: int = Field(default=200, ge=1, le=100_000, description="networks within the limit that are looked at")
    sampler: str = Field(default="evolution", description="name of a sampler: which network is looked at next")
    sampler_options: dict[str, Any] = Field(default_factory=dict, description="options of the sampler")
    calibration: int = Field(
        default=512, ge=2, le=1_000_000, description="training images by which BatchNorm is renewed before a look"
    )
    inherit: bool = Field(
        default=True, description="whether the student begins with its part of the shared weights, or anew"
    )
