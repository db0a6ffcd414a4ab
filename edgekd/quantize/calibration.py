"""Post-training quantization of any network that lets itself be watched: ranges, rounding and corrected biases.

It knows no framework: a captured torch module and an ONNX file are both a `Network`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from edgekd.errors import UsageError
from edgekd.placement.place import Placement, QuantizedTensor
from edgekd.placement.scheme import Scheme, Signedness, WeightScheme, integer_range, scale
from edgekd.quantize import rounding
from edgekd.quantize.equalisation import Equalised
from edgekd.quantize.layer import Array, Layer
from edgekd.quantize.network import Network
from edgekd.quantize.observer import create
from edgekd.schema import Field, Schema

PATCHES = 2048
"""Of a layer's input, examined in every batch."""
LARGEST_GRAM = 6144
"""Weights of one output channel beyond which rounding is to the nearest: the matrix would take too long."""

Rounding = Literal["nearest", "adaptive"]


class CalibrationConfig(Schema):
    """How ranges are found and weights are rounded."""

    observer: str = Field(default="mse", description="name of an observer: how the range of a tensor is chosen")
    observer_options: dict[str, Any] = Field(default_factory=dict, description="options of the observer")
    rounding: Rounding = Field(
        default="adaptive", description="of weights: each to the nearest integer, or so that layers answer the same"
    )
    bias_correction: bool = Field(
        default=True, description="shift biases by what rounding shifts the mean of a layer's output"
    )
    equalisation: bool = Field(
        default=False,
        description="let channels that are large in a tensor hand some of it to the weights that read them "
        "(experimental)",
    )

    @property
    def looks_at_inputs(self) -> bool:
        """Return whether what a layer multiplies decides anything about its weight or bias."""
        return self.rounding == "adaptive" or self.bias_correction


@dataclass(frozen=True)
class Stored:
    """A tensor in integers."""

    step: float
    zero_point: int
    signedness: Signedness

    def integers(self, x: Array) -> Array:
        """Return the integers of `x`, as floats, as ONNX's QuantizeLinear defines them."""
        low, high = integer_range(self.signedness)
        found: Array = np.clip(np.round(x / np.float32(self.step)) + np.float32(self.zero_point), low, high)
        return found

    def rounded(self, x: Array) -> Array:
        """Return `x` as the integers stand for it."""
        found: Array = (self.integers(x) - np.float32(self.zero_point)) * np.float32(self.step)
        return found


@dataclass(frozen=True)
class Weight:
    """A weight in integers."""

    integers: NDArray[np.int8]
    """Output channels first."""
    steps: Array
    """One an output channel, (O,), or one a block of its inputs, (O, B)."""
    bias: Array | None
    """Corrected, still in floats; None for a layer without one."""


@dataclass(frozen=True)
class Integers:
    """Everything that calibration found."""

    tensors: dict[str, Stored]
    weights: dict[str, Weight]


def calibrated(
    network: Network, samples: NDArray[Any], plan: Placement, scheme: Scheme, config: CalibrationConfig
) -> Integers:
    """Return integers for the tensors and layers of `plan`, from what `samples` (N, ...) do in the network.

    Raises UsageError for an unknown observer, and when there is nothing to calibrate or to calibrate with.
    """
    if not plan.tensors or not len(samples):
        raise UsageError(f"cannot calibrate {len(plan.tensors)} tensors with {len(samples)} samples")
    if config.equalisation:
        network = Equalised(network, samples, plan)
    tensors = _ranges(network, samples, plan, config)
    return Integers(tensors, rounded_weights(network, samples, plan.weights, scheme, config, tensors=tensors))


def rounded_weights(
    network: Network,
    samples: NDArray[Any],
    names: Collection[str],
    scheme: WeightScheme,
    config: CalibrationConfig,
    *,
    tensors: Mapping[str, Stored],
) -> dict[str, Weight]:
    """Return the weights of these layers in integers, for inputs that are rounded as `tensors` say, if at all."""
    seen = _inputs(network, samples, names, tensors, config) if config.looks_at_inputs else {}
    return {name: _rounded(network.layers[name], seen.get(name), scheme, config) for name in names}


def _ranges(network: Network, samples: NDArray[Any], plan: Placement, config: CalibrationConfig) -> dict[str, Stored]:
    observers = {tensor.operator: create(config.observer, config.observer_options) for tensor in plan.tensors}
    for batch in network.watch(samples, list(observers)):
        for name, x in batch.items():
            observers[name].update(x)
    return {
        tensor.operator: covering(
            tensor, *observers[tensor.operator].range(255, symmetric=tensor.signedness == "symmetric")
        )
        for tensor in plan.tensors
    }


def covering(tensor: QuantizedTensor, low: float, high: float) -> Stored:
    """Return the integers that cover [low, high], zero exactly, as far as the tensor's limit; low <= 0 <= high."""
    step, zero_point = scale(low, high if tensor.limit is None else min(high, tensor.limit), tensor.signedness)
    return Stored(step, zero_point, tensor.signedness)


@dataclass
class _Seen:
    """What one layer multiplies: second moments and means of its patches, before and after rounding."""

    gram: NDArray[np.float64] | None = None
    """(groups, K, K), of the rounded input."""
    rounded: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    """Sum of the rounded input's patches, (groups, K)."""
    floating: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    count: int = 0

    def add(self, patches: Array, floating: Array, *, with_gram: bool) -> None:
        double = patches.astype(np.float64)
        if self.count == 0:
            self.rounded = np.zeros((len(patches), patches.shape[2]))
            self.floating = self.rounded.copy()
            self.gram = np.zeros((*self.rounded.shape, patches.shape[2])) if with_gram else None
        if self.gram is not None:
            self.gram += double.transpose(0, 2, 1) @ double
        self.rounded += double.sum(1)
        self.floating += floating.astype(np.float64).sum(1)
        self.count += patches.shape[1]


def _inputs(
    network: Network,
    samples: NDArray[Any],
    names: Collection[str],
    tensors: Mapping[str, Stored],
    config: CalibrationConfig,
) -> dict[str, _Seen]:
    """Return what the layers multiply once their inputs are rounded."""
    random = np.random.default_rng(0)
    layers = [layer for name in names if (layer := network.layers[name]).collects]
    seen = {layer.name: _Seen() for layer in layers}
    for batch in network.watch(samples, list(dict.fromkeys(layer.source for layer in layers))):
        for layer in layers:
            patches = layer.patches(batch[layer.source], PATCHES, random)
            stored = tensors.get(network.operators.quantized_source(layer.source).name)
            rounded = patches if stored is None else stored.rounded(patches)
            with_gram = config.rounding == "adaptive" and patches.shape[2] <= LARGEST_GRAM
            seen[layer.name].add(rounded, patches, with_gram=with_gram)
    return seen


def _rounded(layer: Layer, seen: _Seen | None, scheme: WeightScheme, config: CalibrationConfig) -> Weight:
    limit, spare, rows = scheme.weight_limit, scheme.spare, layer.rows.astype(np.float64)
    # (groups, O, B, K / B): a channel is one block, unless the scheme has smaller ones.
    blocks = rows.reshape(*rows.shape[:2], -1, scheme.block or rows.shape[2])
    means = None if seen is None else seen.rounded / seen.count
    if seen is None or seen.gram is None or means is None:
        steps = np.stack([rounding.steps_that_cover(part, limit) for part in blocks])
        integers = rounding.nearest(blocks, steps, limit, spare).reshape(rows.shape)
    else:
        steps, integers = np.zeros(blocks.shape[:3]), np.zeros(rows.shape)
        for group, part in enumerate(rows):
            gram = seen.gram[group] / seen.count
            if config.bias_correction and layer.bias is not None:
                gram = gram - np.outer(means[group], means[group])
            importance = np.maximum(np.diag(gram), 0).reshape(blocks.shape[2:])
            steps[group] = rounding.steps_that_fit(blocks[group], limit, importance, spare)
            integers[group] = rounding.adaptive(part, steps[group], limit, gram, spare=spare)
    bias = layer.bias
    if config.bias_correction and bias is not None and seen is not None and means is not None:
        wanted = (rows * (seen.floating / seen.count)[:, None, :]).sum(-1)
        stored = integers.reshape(blocks.shape) * steps[..., None]
        found = (stored.reshape(rows.shape) * means[:, None, :]).sum(-1)
        bias = (bias + (wanted - found).reshape(-1)).astype(np.float32)
    shape = (len(layer.weight),) if scheme.block is None else (len(layer.weight), -1)
    return Weight(integers.reshape(layer.weight.shape).astype(np.int8), steps.reshape(shape).astype(np.float32), bias)
