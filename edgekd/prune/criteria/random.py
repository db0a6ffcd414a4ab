"""Any channel, drawn by lot: the control that shows what choosing is worth; experimental."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from edgekd.prune.criterion import Criterion
from edgekd.prune.groups import Member
from edgekd.schema import Field, Schema, digest_of


class Random(Criterion):
    """The same lots for the same seed and the same layer; others for every layer, and after every cut."""

    class Config(Schema):
        """Which lots."""

        seed: int = Field(default=0, ge=0, description="another seed draws other channels")

    experimental: ClassVar[bool] = True
    config: Config

    def of_member(self, member: Member, model: nn.Module) -> Tensor:
        """Return numbers drawn evenly from 0 to 1, (channels,)."""
        del model
        key = digest_of([self.config.seed, *member.key, len(member.positions)])
        lots = torch.Generator().manual_seed(int(key[:15], 16))
        return torch.rand(len(member.positions), generator=lots, dtype=torch.float64)
