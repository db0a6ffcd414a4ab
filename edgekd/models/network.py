"""A network family: builds a module of a given size for any input shape and number of classes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from torch import nn

from edgekd.plugins import PluginFolder
from edgekd.schema import Schema


class Network(ABC):
    """Contract of a built-in network family.

    What it builds is made of plain modules only (BatchNorm directly after its Conv, ReLU as a module, `x + y`), so
    that torch.export, quantization and pruning find the patterns they know.
    """

    Config: ClassVar[type[Schema]]

    def __init__(self, config: Schema) -> None:
        self.config = config

    @abstractmethod
    def build(self, input_shape: tuple[int, int, int], classes: int) -> nn.Module:
        """Return a freshly initialised module that maps (N, *input_shape) to (N, classes) logits.

        `input_shape` is (channels, height, width).
        """


NETWORKS = PluginFolder("edgekd.models.networks", Network)  # type: ignore[type-abstract]
