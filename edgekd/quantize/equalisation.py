"""Equalisation (experimental): channels that are large in a tensor hand some of it to the weights that read them.

A tensor has one step for all its channels, a weight one for each output channel. Where a layer's result is read by
layers alone, with nothing but ReLU and pooling between, multiplying the reader's column of a channel by `s` and
dividing the maker's row by it changes no answer (Nagel et al. 2019, https://arxiv.org/abs/1906.04721). Theirs is
`s` from the ranges of both weights; here the maker's rows have steps of their own, so what is weighed is the channel's
range on calibration data against the reader's column, half and half (SmoothQuant; Xiao et al. 2023,
https://arxiv.org/abs/2211.10438, with its alpha of 0.5). ReLU6 ends at the same value in every channel and forbids it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekd.placement.place import Placement
from edgekd.quantize.layer import Array, Layer
from edgekd.quantize.network import Network

_PASSING = {"relu", "max_pool", "average_pool"}
"""Operators that commute with a positive factor for each channel."""
_MOST = 16.0


@dataclass(frozen=True)
class _Link:
    """A layer whose result is read by layers alone."""

    maker: str
    tensors: tuple[str, ...]
    """Its result, and what is made of it before it is read."""
    readers: tuple[str, ...]
    axis: int
    """Of its channels: the last of what a linear layer makes, the second of what a convolution makes."""


class Equalised(Network):
    """A network whose links are equalised: the same answers, other weights."""

    def __init__(self, network: Network, samples: NDArray[Any], plan: Placement) -> None:
        self._network, self.operators = network, network.operators
        links = list(_links(network, plan))
        ranges = _ranges(network, samples, {link.tensors[-1]: link.axis for link in links})
        self._factors: dict[str, Array] = {}
        self._axes = {name: link.axis for link in links for name in link.tensors}
        layers = dict(network.layers)
        for link in links:
            columns = np.maximum.reduce([_columns(network.layers[name]) for name in link.readers])
            factors = _balanced(ranges[link.tensors[-1]], columns)
            self._factors |= dict.fromkeys(link.tensors, factors)
            layers[link.maker] = _made(layers[link.maker], np.reciprocal(factors))
            for name in link.readers:
                layers[name] = _reading(layers[name], factors)
        self.layers: Mapping[str, Layer] = layers

    def watch(self, samples: NDArray[Any], names: list[str]) -> Iterator[dict[str, Array]]:
        """Yield what the equalised network makes."""
        for batch in self._network.watch(samples, names):
            yield {name: x / self._along(name, x) if name in self._factors else x for name, x in batch.items()}

    def _along(self, name: str, x: Array) -> Array:
        shape = [1] * x.ndim
        shape[self._axes[name]] = -1
        return self._factors[name].reshape(shape)


def _links(network: Network, plan: Placement) -> Iterator[_Link]:
    for name in plan.weights:
        end, tensors = network.operators[name], [name]
        while len(users := network.operators.users(end)) == 1 and users[0].kind in _PASSING:
            end = users[0]
            tensors.append(end.name)
        readers = tuple(user.name for user in users)
        if readers and all(reader in plan.weights and network.layers[reader].collects for reader in readers):
            yield _Link(name, tuple(tensors), readers, -1 if network.layers[name].geometry is None else 1)


def _ranges(network: Network, samples: NDArray[Any], axes: Mapping[str, int]) -> dict[str, Array]:
    """Return the largest value of each channel; `axes` tells by name where the channels of a tensor lie."""
    found: dict[str, Array] = {}
    for batch in network.watch(samples, list(axes)):
        for name, x in batch.items():
            rows = np.abs(np.moveaxis(x, axes[name], -1)).reshape(-1, x.shape[axes[name]])
            found[name] = np.maximum(found.get(name, np.float32(0)), rows.max(0))
    return found


def _columns(layer: Layer) -> Array:
    """Return how much each input channel can weigh in an output, at most 1: the row's largest weight."""
    rows = np.abs(layer.weight.reshape(len(layer.weight), layer.weight.shape[1], -1)).max(2)
    shares = rows / np.maximum(rows.max(1, keepdims=True), 1e-30)
    found: Array = shares.reshape(layer.groups, -1, rows.shape[1]).max(1).reshape(-1)
    return found


def _balanced(ranges: Array, columns: Array) -> Array:
    """Return factors with a mean (of logarithms) of 1; a channel that is never anything keeps 1."""
    alive = (ranges > 0) & (columns > 0)
    factors = np.ones_like(ranges)
    factors[alive] = np.sqrt(ranges[alive] / columns[alive])
    if alive.any():
        factors[alive] /= np.exp(np.log(factors[alive]).mean())
    return np.clip(factors, 1 / _MOST, _MOST).astype(np.float32)


def _made(layer: Layer, factors: Array) -> Layer:
    weight = layer.weight * factors.reshape(-1, *[1] * (layer.weight.ndim - 1))
    return replace(layer, weight=weight, bias=None if layer.bias is None else layer.bias * factors)


def _reading(layer: Layer, factors: Array) -> Layer:
    shape = layer.weight.shape
    grouped = layer.weight.reshape(layer.groups, -1, *shape[1:])
    by_group = factors.reshape(layer.groups, 1, shape[1], *[1] * (len(shape) - 2))
    return replace(layer, weight=(grouped * by_group).reshape(shape))
