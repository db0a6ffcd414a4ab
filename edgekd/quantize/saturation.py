"""Saturation: how often 16-bit pair sums would overflow on x86 processors without integer dot products.

There, `vpmaddubsw` multiplies unsigned by signed bytes and adds neighbouring products in 16 bits, cutting off silently
(Intel 64 and IA-32 manual, volume 2). Neighbours are input channels 2i and 2i + 1 at one kernel position: ONNX Runtime
and OpenVINO reduce over the channels first, then over kernel columns and rows. Depthwise convolutions add no pairs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekd.errors import ExportError
from edgekd.placement.place import Placement
from edgekd.placement.scheme import integer_range
from edgekd.quantize.calibration import Integers, Stored
from edgekd.quantize.layer import Layer
from edgekd.quantize.network import Network

ROWS = 256
"""Output positions examined per layer and batch."""
LARGEST_SHARE = 1e-4
"""Of a layer's pair sums that may overflow before an engine for such a processor is refused."""
Integer = NDArray[np.int32]


def saturation(network: Network, samples: NDArray[Any], plan: Placement, integers: Integers) -> dict[str, float]:
    """Return, by the layer's label, the share of pair sums outside int16 over a random sample of output positions."""
    random = np.random.default_rng(0)
    layers = [layer for name in plan.weights if _adds_pairs(layer := network.layers[name])]
    held = {layer.name: integers.tensors.get(network.operators.quantized_source(layer.source).name) for layer in layers}
    found: dict[str, list[float]] = {layer.name: [] for layer in layers if held[layer.name] is not None}
    for batch in network.watch(samples, list(dict.fromkeys(layer.source for layer in layers))):
        for layer in layers:
            stored = held[layer.name]
            if stored is not None:
                patches = layer.patches(batch[layer.source], ROWS, random)
                pairs = operands(layer, patches, stored, integers.weights[layer.name].integers)
                found[layer.name] += [pair_overflow(rows, weights) for rows, weights in pairs]
    return {network.layers[name].label: float(np.mean(shares)) for name, shares in found.items()}


def operands(
    layer: Layer, patches: NDArray[np.float32], stored: Stored, weight: NDArray[np.int8]
) -> Iterator[tuple[Integer, Integer]]:
    """Yield the bytes (R, K) and weights (O, K) that are multiplied, group by group, in the order of reduction."""
    # Engines with only this instruction shift signed activations by 128.
    bytes_ = (stored.integers(patches) - integer_range(stored.signedness)[0]).astype(np.int32)
    rows = weight.reshape(layer.rows.shape).astype(np.int32)
    channels = layer.weight.shape[1]
    for part, filters in zip(bytes_, rows, strict=True):
        yield _channels_last(part, channels), _channels_last(filters, channels)


def saturated_products(rows: Integer, weights: Integer) -> Integer:
    """Return the products (R, O) of `rows` (R, K) and `weights` (O, K) as `vpmaddubsw` gets them: pair by pair."""
    found = np.zeros((len(rows), len(weights)), np.int32)
    for start in range(0, rows.shape[1], 2):
        pair = rows[:, start : start + 2] @ weights[:, start : start + 2].T
        found += np.clip(pair, -32768, 32767)
    return found


def pair_overflow(rows: Integer, weights: Integer) -> float:
    """Return the share of pair sums outside int16 for all products of `rows` (R, K) and `weights` (O, K)."""
    overflowing, pairs = 0, (rows.shape[1] + 1) // 2
    for start in range(0, rows.shape[1], 2):
        sums = rows[:, start : start + 2] @ weights[:, start : start + 2].T
        overflowing += int(((sums > 32767) | (sums < -32768)).sum())
    return float(overflowing / (len(rows) * len(weights) * pairs))


def refuse_saturating(shares: Mapping[str, float], scheme: str, target: str) -> None:
    """Raise ExportError with the worst layer and the remedy when too many pair sums would overflow."""
    worst = max(shares, key=lambda name: shares[name], default=None)
    if worst is not None and shares[worst] > LARGEST_SHARE:
        raise ExportError(
            f"as {scheme}, {shares[worst]:.2%} of the 16-bit sums in layer '{worst}' would overflow on {target}, which "
            "changes answers silently; quantize with 7-bit weights (scheme u8w7), which cannot overflow"
        )


def _adds_pairs(layer: Layer) -> bool:
    return layer.collects and not (layer.groups > 1 and layer.weight.shape[1] == 1)


def _channels_last(rows: Integer, channels: int) -> Integer:
    return rows.reshape(len(rows), channels, -1).transpose(0, 2, 1).reshape(len(rows), -1)
