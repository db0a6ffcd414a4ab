"""Transformer encoder that classifies a text by the mean of its tokens (after BERT; Devlin et al. 2019)."""

from __future__ import annotations

from typing import ClassVar, Literal

from torch import nn

from edgekd.models.network import Network, tokens
from edgekd.models.transformer import TextSize, TextTransformer


class TextEncoder(Network):
    """Encoder for texts of one length."""

    class Config(TextSize):
        """Size of the network."""

    eats: ClassVar[Literal["images", "texts"]] = "texts"

    config: Config

    def build(self, input_shape: tuple[int, ...], classes: int) -> nn.Module:
        """Return the module; 0.3M parameters at the default size."""
        return TextTransformer(self.config, tokens(input_shape), classes, causal=False)
