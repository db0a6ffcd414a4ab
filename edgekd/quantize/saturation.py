"""Saturation: how often 16-bit pair sums would overflow on x86 processors without integer dot products.

There, `vpmaddubsw` multiplies unsigned by signed bytes and adds neighbouring products in 16 bits, cutting off silently
(Intel 64 and IA-32 manual, volume 2). Neighbours are input channels 2i and 2i + 1 at one kernel position: ONNX Runtime
and OpenVINO reduce over the channels first, then over kernel columns and rows. Depthwise convolutions add no pairs.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from edgekd.quantize.aten import arguments, aten, maker
from edgekd.quantize.fake_quant import ActivationQuantizer, WeightQuantizer

ROWS = 256
"""Output positions examined per layer and batch."""
CHUNK = 1 << 22


def saturation(module: nn.Module, images: np.ndarray) -> dict[str, float]:
    """Return, by layer, the share of pair sums outside int16 over a random sample of output positions.

    `module` is prepared and calibrated; `images` is float32 (N, C, H, W) of calibration data.
    """
    watch = _Watch(module)
    with torch.no_grad():
        watch.run(torch.from_numpy(np.ascontiguousarray(images)))
    return watch.shares


def pair_overflow(rows: Tensor, weights: Tensor) -> float:
    """Return the share of pair sums outside int16 for all products of `rows` (R, K) and `weights` (O, K)."""
    if rows.shape[1] % 2:
        rows, weights = F.pad(rows, (0, 1)), F.pad(weights, (0, 1))
    overflowing = 0
    for part in torch.split(rows, max(1, CHUNK // (weights.numel() // 2))):
        products = part[:, None, :] * weights
        sums = products[..., 0::2] + products[..., 1::2]
        overflowing += int(((sums > 32767) | (sums < -32768)).sum())
    return overflowing / (len(rows) * weights.numel() / 2)


class _Watch(fx.Interpreter):
    """Runs a fake-quantized network and looks at the integers every layer multiplies."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__(module.eval())
        self.shares: dict[str, float] = {}
        self._random = torch.Generator().manual_seed(0)

    def run_node(self, n: fx.Node) -> Any:
        """Examine a layer before running it."""
        if n.target in {aten.conv2d.default, aten.conv2d.padding, aten.linear.default}:
            network = self.module
            if isinstance(network, fx.GraphModule):
                self._examine(network, n)
        return super().run_node(n)

    def _examine(self, network: fx.GraphModule, layer: fx.Node) -> None:
        source, quantizer = maker(network, layer.args[0]), maker(network, layer.args[1])
        weight_node = arguments(layer)[1]
        if not isinstance(source, ActivationQuantizer) or not isinstance(quantizer, WeightQuantizer):
            return
        given, named = self.fetch_args_kwargs_from_env(layer)
        x, _, *options = given
        path = str(weight_node.all_input_nodes[0].target)
        weight = quantizer.integers(network.get_parameter(path).detach())
        # Engines with only this instruction shift signed activations by 128.
        bytes_ = source.integers(x) - source.lowest
        zero = float(source.zero_point) - source.lowest
        pairs = list(self._operands(bytes_, weight, zero, [*options, *named.values()]))
        if pairs:
            shares = [pair_overflow(rows, weights) for rows, weights in pairs]
            self.shares[path.removesuffix(".weight")] = sum(shares) / len(shares)

    def _operands(self, x: Tensor, weight: Tensor, zero: float, options: list[Any]) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the sampled inputs (R, K) and the weights (O, K) of every group, in the order of reduction."""
        if weight.dim() == 2:
            yield self._sample(x.reshape(-1, x.shape[-1])), weight
            return
        defaults: list[Any] = [None, [1, 1], [0, 0], [1, 1], 1]
        _, stride, padding, dilation, groups = [*options, *defaults[len(options) :]]
        if weight.shape[1] == 1 and groups > 1:
            return
        x = F.pad(x, _padding(padding, weight, dilation), value=zero)
        rows = F.unfold(x, weight.shape[2:], dilation, 0, stride).mT.reshape(-1, x.shape[1], weight[0, 0].numel())
        sampled = self._sample(rows)
        for part, filters in zip(sampled.chunk(groups, 1), weight.chunk(groups, 0), strict=True):
            yield part.mT.flatten(1), filters.flatten(2).mT.flatten(1)

    def _sample(self, rows: Tensor) -> Tensor:
        return rows[torch.randint(len(rows), (ROWS,), generator=self._random)] if len(rows) > ROWS else rows


def _padding(padding: Any, weight: Tensor, dilation: list[int]) -> list[int]:
    """Return the padding as F.pad wants it: left, right, top, bottom."""
    height, width = weight.shape[2:]
    if padding == "valid":
        return [0, 0, 0, 0]
    if padding == "same":
        rows, columns = dilation[0] * (height - 1), dilation[-1] * (width - 1)
        return [columns // 2, columns - columns // 2, rows // 2, rows - rows // 2]
    return [padding[-1], padding[-1], padding[0], padding[0]]
