"""Networks with the structures pruning has to get right, or to leave alone; input (1, 12, 12), 4 classes."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from edgekd.models.build import build
from edgekd.recipe import ModelSpec
from tests.models import INPUT_SHAPE, settled

BUILT_IN = {
    "resnet": ModelSpec(name="resnet", options={"depth": 14, "channels": [8, 12, 16]}),
    "mobilenetv2": ModelSpec(name="mobilenetv2", options={"width": 0.25, "depth": 0.5, "expansion": 2}),
    "shrunk": ModelSpec(name="resnet", options={"depth": 8, "channels": [8, 12, 16], "shrink": 2}),
    "mobile-cells": ModelSpec(
        name="mobile-cells",
        options={"stem": 8, "cells": [{"channels": 8, "kernel": 5, "expansion": 2}, {"channels": 12, "stride": 2}]},
    ),
    "mobile-cells-squeezed": ModelSpec(
        name="mobile-cells",
        options={
            "stem": 8,
            "cells": [
                {"channels": 8, "expansion": 1, "squeeze": 4},
                {"channels": 12, "stride": 2, "expansion": 3, "squeeze": 8},
            ],
        },
    ),
}


class Concatenation(nn.Module):
    """Two branches side by side, then a flattened map read by a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.left = nn.Conv2d(1, 8, 3, padding=1)
        self.right = nn.Conv2d(8, 6, 3, padding=1)
        self.join = nn.Conv2d(14, 5, 3, stride=2)
        self.head = nn.Linear(5 * 25, 4)

    def forward(self, x: Tensor) -> Tensor:
        left = self.left(x).sigmoid()  # sigmoid(0) is not 0: a removed channel is not a silent one
        right = self.right(left).relu()
        return self.head(torch.flatten(self.join(torch.cat([left, right], 1)).relu(), 1))


class Heads(nn.Module):
    """A width that the model's own code relies on, as in attention, beside one that is free."""

    def __init__(self) -> None:
        super().__init__()
        self.free = nn.Conv2d(1, 8, 3, padding=1)
        self.fixed = nn.Conv2d(8, 12, 1)
        self.head = nn.Linear(12, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.fixed(self.free(x).relu())
        heads = x.flatten(2).view(x.shape[0], 3, 4, 144)
        return self.head((heads * heads.mean(1, keepdim=True)).mean(3).reshape(x.shape[0], 12))


class Grouped(nn.Module):
    """A convolution in two groups."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 8, 3)
        self.grouped = nn.Conv2d(8, 8, 3, groups=2)
        self.last = nn.Conv2d(8, 8, 1)
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.last(self.grouped(self.first(x).relu()).relu()).relu().mean((2, 3)))


def network(name: str) -> nn.Module:
    """Return a network by name, with BatchNorm statistics that are not the trivial ones."""
    torch.manual_seed(0)
    if name == "concatenation":
        return Concatenation().eval()
    if name not in BUILT_IN:
        return settled(name)
    model = build(BUILT_IN[name], INPUT_SHAPE, 4).train()
    with torch.no_grad():
        for _ in range(8):
            model(torch.randn(32, *INPUT_SHAPE))
    return model.eval()


NAMES = ("residual", "depthwise", "mlp", "concatenation", *BUILT_IN)
EXAMPLE = torch.zeros(2, *INPUT_SHAPE)
