"""A network family: builds a module of a given size for any input shape and number of classes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from torch import nn

from edgekd.errors import UsageError
from edgekd.plugins import PluginFolder
from edgekd.schema import Schema, from_mapping


class Network(ABC):
    """Contract of a built-in network family.

    What it builds is made of plain modules only (BatchNorm directly after its Conv, ReLU as a module, `x + y`), so
    that torch.export, quantization and pruning find the patterns they know.
    """

    Config: ClassVar[type[Schema]]
    eats: ClassVar[Literal["images", "texts"]] = "images"

    def __init__(self, config: Schema) -> None:
        self.config = config

    @abstractmethod
    def build(self, input_shape: tuple[int, ...], classes: int) -> nn.Module:
        """Return a freshly initialised module that maps (N, *input_shape) to (N, classes) logits.

        `input_shape` is (channels, height, width), or (tokens,); a network that decides at every position gives
        (N, tokens, classes). Raises UsageError for a shape it is not made for.
        """


def image(input_shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Return (channels, height, width); raises UsageError for the shape of a text."""
    if len(input_shape) != 3:
        raise UsageError(f"this network is made for images (channels, height, width), the data have {input_shape}")
    return input_shape


def tokens(input_shape: tuple[int, ...]) -> int:
    """Return the number of tokens of a text; raises UsageError for the shape of an image."""
    if len(input_shape) != 1:
        raise UsageError(f"this network is made for texts (tokens,), the data have {input_shape}")
    return input_shape[0]


NETWORKS = PluginFolder("edgekd.models.networks", Network)  # type: ignore[type-abstract]


def options_of(family: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of a family with its defaults filled in; raises UsageError for one that it does not have."""
    return from_mapping(NETWORKS.get(family).Config, dict(options), f"options of model '{family}'").plain()
