"""Causal language model: every token predicts the next (after GPT; Radford et al. 2018)."""

from __future__ import annotations

from typing import ClassVar, Literal

from torch import nn

from edgekd.models.network import Network, tokens
from edgekd.models.transformer import TextSize, TextTransformer


class CausalLm(Network):
    """Decoder for texts of one length; gives logits (N, tokens, classes)."""

    class Config(TextSize):
        """Size of the network."""

    eats: ClassVar[Literal["images", "texts"]] = "texts"

    config: Config

    def build(self, input_shape: tuple[int, ...], classes: int) -> nn.Module:
        """Return the module; 0.3M parameters at the default size."""
        return TextTransformer(self.config, tokens(input_shape), classes, causal=True)
