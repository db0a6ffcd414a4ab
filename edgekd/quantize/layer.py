"""A layer with a stored weight as calibration sees it: its weight, its bias and the patches of input it multiplies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Geometry:
    """How a convolution walks over its input; a layer over one axis has a height of 1."""

    stride: tuple[int, int] = (1, 1)
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)
    """Top, left, bottom, right."""
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1
    transposed: bool = False
    """Whether it is a deconvolution, which spreads its input instead of collecting it."""


def two_axes(sizes: Sequence[int], missing: int) -> tuple[int, int]:
    """Return sizes of one or two axes as those of height and width, `missing` for a height that is not there."""
    padded = (*(missing for _ in range(2 - len(sizes))), *sizes)
    return int(padded[0]), int(padded[1])


@dataclass(frozen=True)
class Layer:
    """A convolution, or without geometry a linear layer."""

    name: str
    source: str
    """The tensor it reads."""
    weight: Array
    """Output channels first: (O, I / groups, height, width) or (O, I)."""
    bias: Array | None
    geometry: Geometry | None = None
    label: str = ""
    """What its author calls it: a module's path, a node's name."""

    @property
    def groups(self) -> int:
        """Return into how many parts the channels fall."""
        return 1 if self.geometry is None else self.geometry.groups

    @property
    def rows(self) -> Array:
        """Return the weight as (groups, O / groups, K): one row an output channel, in the order of `patches`."""
        return self.weight.reshape(self.groups, len(self.weight) // self.groups, -1)

    @property
    def collects(self) -> bool:
        """Return whether every output is one row times one patch of the input."""
        return self.geometry is None or not self.geometry.transposed

    def patches(self, x: Array, most: int, random: np.random.Generator) -> Array:
        """Return at most `most` randomly chosen patches that the rows of the weight are multiplied by.

        `x` is a batch of the layer's input, (N, C, H, W), (N, C, L) or (..., I). The result is (groups, R, K).
        """
        if self.geometry is None:
            flat = x.reshape(-1, x.shape[-1])
            return flat[_chosen(len(flat), most, random)][None]
        return _windows(x if x.ndim == 4 else x[:, :, None, :], self, self.geometry, most, random)


def _chosen(count: int, most: int, random: np.random.Generator) -> NDArray[np.int64]:
    return random.choice(count, most, replace=False) if count > most else np.arange(count)


def _windows(x: Array, layer: Layer, geometry: Geometry, most: int, random: np.random.Generator) -> Array:
    top, left, bottom, right = geometry.pads
    padded = np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)))
    kernel = layer.weight.shape[2:] if layer.weight.ndim == 4 else (1, *layer.weight.shape[2:])
    reach = tuple((size - 1) * step + 1 for size, step in zip(kernel, geometry.dilation, strict=True))
    views = np.lib.stride_tricks.sliding_window_view(padded, reach, axis=(2, 3))
    views = views[:, :, :: geometry.stride[0], :: geometry.stride[1], :: geometry.dilation[0], :: geometry.dilation[1]]
    count, _, height, width = views.shape[:4]
    chosen = _chosen(count * height * width, most, random)
    sample, row, column = np.unravel_index(chosen, (count, height, width))
    found = views[sample, :, row, column]  # (R, C, kernel height, kernel width)
    return found.reshape(len(chosen), geometry.groups, -1).transpose(1, 0, 2)
