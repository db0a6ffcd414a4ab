"""Causal language model: every token predicts the next (after GPT; Radford et al. 2018)."""

from __future__ import annotations

from typing import ClassVar, Literal

from torch import Tensor, nn

from edgekd.models.network import Network, tokens
from edgekd.models.transformer import TokenEmbedding, blocks
from edgekd.schema import Field, Schema


class _Module(nn.Module):
    def __init__(self, embedding: TokenEmbedding, layers: nn.ModuleList, width: int, classes: int) -> None:
        super().__init__()
        self.embedding = embedding
        self.blocks = layers
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embedding(x)
        for block in self.blocks:
            x = block(x)
        out: Tensor = self.head(self.norm(x))
        return out


class CausalLm(Network):
    """Decoder for texts of one length; gives logits (N, tokens, classes)."""

    class Config(Schema):
        """Size of the network."""

        vocabulary: int = Field(default=128, ge=2, le=1_000_000, description="tokens there are; 128: characters")
        depth: int = Field(default=4, ge=1, le=64, description="blocks")
        width: int = Field(default=128, ge=1, le=4096, description="values of a token")
        heads: int = Field(default=4, ge=1, le=64, description="attention heads; they divide the width")
        expansion: float = Field(default=4.0, gt=0, le=16, description="hidden units of a block, by its width")

    eats: ClassVar[Literal["images", "texts"]] = "texts"

    config: Config

    def build(self, input_shape: tuple[int, ...], classes: int) -> nn.Module:
        """Return the module; 0.8M parameters at the default size."""
        config, length = self.config, tokens(input_shape)
        embedding = TokenEmbedding(config.vocabulary, length, config.width)
        layers = blocks(config.depth, config.width, config.heads, config.expansion, causal=length)
        return _Module(embedding, layers, config.width, classes)
