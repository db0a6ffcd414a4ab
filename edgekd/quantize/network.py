"""What calibration asks of a network, whichever framework holds it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any

from numpy.typing import NDArray

from edgekd.placement.graph import OperatorGraph
from edgekd.quantize.layer import Array, Layer


class Network(ABC):
    """A float network as calibration needs it; tensors and layers are called as the operators that make them."""

    operators: OperatorGraph
    layers: Mapping[str, Layer]

    @abstractmethod
    def watch(self, samples: NDArray[Any], names: list[str]) -> Iterator[dict[str, Array]]:
        """Run `samples` (N, ...) in float and yield, batch by batch, the tensors of these names."""
