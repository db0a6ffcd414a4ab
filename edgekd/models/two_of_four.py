"""The 2:4 pattern: of every four weights that are added up one after the other, two at least are zero.

Mishra et al. 2021, "Accelerating Sparse Deep Neural Networks", https://arxiv.org/abs/2104.08378. The sparse tensor
cores of NVIDIA's Ampere and later read two values of four and where they stand. What is added up one after the other
are, in TensorRT's layout, the input channels of a convolution at one place of its kernel, and the inputs of a linear
layer: the second axis of torch's weights.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import nn

from edgekd.models.sharing import shared

KEY = "two_of_four"
"""In the `extra` of a saved network: the paths of the weights that are 2:4."""
_FOUR, _TWO = 4, 2


class Layers(NamedTuple):
    """The convolutions and linear layers of a network, by path."""

    fitting: dict[str, nn.Parameter]
    """Weights that can be 2:4."""
    dense: dict[str, str]
    """Why the others cannot."""


def layers(model: nn.Module) -> Layers:
    """Return which layers of a network can be 2:4."""
    tied = shared(model)
    together = {*tied, *tied.values()}
    found = Layers({}, {})
    for path, module in model.named_modules():
        if isinstance(module, nn.Linear | nn.modules.conv._ConvNd):
            weight = module.get_parameter("weight")
            reason = _obstacle(module, another=f"{path}.weight".lstrip(".") in together)
            if reason is None:
                found.fitting[path] = weight
            else:
                found.dense[path] = reason
    return found


def _obstacle(module: nn.Linear | nn.modules.conv._ConvNd, *, another: bool) -> str | None:
    if isinstance(module, nn.modules.conv._ConvNd) and module.transposed:
        return "it is a transposed convolution"
    if module.weight.shape[1] % _FOUR:
        return f"it adds up {module.weight.shape[1]} inputs, which is no multiple of {_FOUR}"
    return "its weight is also another layer's" if another else None


def largest(weight: NDArray[Any]) -> NDArray[np.bool_]:
    """Return where the two largest of every four along the second axis stand; of equals, the first."""
    fours = _fours(np.abs(weight), 1)
    kept = np.zeros(fours.shape, np.bool_)
    np.put_along_axis(kept, np.argsort(-fours, axis=-1, kind="stable")[..., :_TWO], values=True, axis=-1)
    along = np.moveaxis(weight, 1, -1).shape
    return np.moveaxis(kept.reshape(along), -1, 1)


def share(weight: NDArray[Any], axis: int = 1) -> float:
    """Return the share of fours along an axis with two zeros at least; 0 where its length is no multiple of four."""
    if weight.shape[axis] % _FOUR or not weight.size:
        return 0.0
    return float(((_fours(weight, axis) != 0).sum(-1) <= _TWO).mean())


def _fours(weight: NDArray[Any], axis: int) -> NDArray[Any]:
    return np.moveaxis(weight, axis, -1).reshape(-1, _FOUR)
