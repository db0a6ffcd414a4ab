"""A ResNet that holds every candidate at once: shared kernels of the largest width, of which each takes the first."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, linear

from edgekd.models.residual import STAGES
from edgekd.search.tas.decisions import Decisions, Mixture
from edgekd.search.tas.interpolation import to_width
from edgekd.search.tas.shapes import Shapes


class _Layer(nn.Module):
    """A convolution at the largest width, and a BatchNorm for each candidate, always over the batch at hand.

    One for each candidate is our choice: widths do not share statistics, nor a scale.
    """

    def __init__(self, inputs: int, widths: Sequence[int], size: int) -> None:
        super().__init__()
        self._widths = tuple(widths)
        self.weight = nn.Parameter(torch.empty(max(widths), inputs, size, size))
        nn.init.kaiming_normal_(self.weight, mode="fan_out", nonlinearity="relu")
        self.norms = nn.ModuleList(nn.BatchNorm2d(width, track_running_stats=False) for width in widths)

    def forward(self, x: Tensor, mixture: Mixture, stride: int = 1) -> Tensor:
        """Return the weighted sum of what the drawn widths give, each brought to the widest of them."""
        widest = max(self._widths[position] for position in mixture.positions)
        padding = self.weight.shape[-1] // 2
        y = conv2d(x, self.weight[:widest, : x.shape[1]], stride=stride, padding=padding)
        parts = [
            weight * to_width(self.norms[position](y[:, : self._widths[position]]), widest)
            for position, weight in zip(mixture.positions, mixture.weights, strict=True)
        ]
        mixed: Tensor = reduce(torch.add, parts)
        return mixed


class _Block(nn.Module):
    def __init__(self, inputs: int, widths: Sequence[int], stride: int, changes: bool) -> None:
        super().__init__()
        self._stride = stride
        self.conv1 = _Layer(inputs, widths, 3)
        self.conv2 = _Layer(max(widths), widths, 3)
        self.shortcut = _Layer(inputs, widths, 1) if changes else None

    def forward(self, x: Tensor, mixture: Mixture) -> Tensor:
        y = self.conv2(self.conv1(x, mixture, self._stride).relu(), mixture)
        # Positions are left out beforehand: a strided 1x1 convolution may get its gradient wrong, see memory_format.
        seen = x[:, :, :: self._stride, :: self._stride]
        shortcut: Tensor = x if self.shortcut is None else self.shortcut(seen, mixture)
        out: Tensor = (y + shortcut).relu()
        return out


class Supernet(nn.Module):
    """All networks of some shapes.

    In training mode every pass draws two widths a stage and weighs all depths, by Gumbel-softmax; one draw serves all
    layers of a stage, because the family has one width a stage.
    """

    def __init__(self, shapes: Shapes, channels: int, classes: int, decisions: Decisions) -> None:
        super().__init__()
        self._shapes = shapes
        self.decisions = decisions
        self.stem = _Layer(channels, shapes.widths[0], 3)
        self.stages = nn.ModuleList()
        inputs = max(shapes.widths[0])
        for stage, (widths, blocks) in enumerate(zip(shapes.widths, shapes.blocks, strict=True)):
            changes = [stage > 0 and position == 0 for position in range(max(blocks))]
            sizes = [inputs, *[max(widths)] * max(blocks)]
            self.stages.append(
                nn.ModuleList(
                    _Block(size, widths, 2 if first else 1, first) for size, first in zip(sizes, changes, strict=False)
                )
            )
            inputs = max(widths)
        self.head = nn.Linear(inputs, classes)

    def forward(self, x: Tensor, logits: Tensor | None = None) -> Tensor:
        """Return class logits (N, classes) by the held decisions' logits, or by others that a gradient is wanted of."""
        told = self.decisions.split(logits)
        widths = [self.decisions.pair(own) for own in told[:STAGES]]
        depths = [self.decisions.every(own) for own in told[STAGES:]]
        x = self.stem(x, widths[0]).relu()
        for stage, (blocks, width, depth) in enumerate(zip(self.stages, widths, depths, strict=True)):
            x = self._through(cast(nn.ModuleList, blocks), x, width, depth, self._shapes.blocks[stage])
        seen = x.mean((2, 3))
        return linear(seen, self.head.weight[:, : seen.shape[1]], self.head.bias)

    @staticmethod
    def _through(blocks: nn.ModuleList, x: Tensor, width: Mixture, depth: Mixture, counts: Sequence[int]) -> Tensor:
        """Return the sum of what a stage gives after each number of blocks, by the weights of depths."""
        weights, total = dict(zip(counts, depth.weights, strict=True)), torch.zeros(())
        for number, block in enumerate(blocks, 1):
            x = block(x, width)
            if number in weights:
                total = total + weights[number] * x
        return total
