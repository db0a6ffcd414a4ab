"""The transformer the built-in families share: pre-norm blocks of plain modules (Xiong et al. 2020).

Attention is two matrix products with a softmax between them, not one fused operator: `blocks.0.attention.softmax` can
be tapped, and export and quantization see what they know.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from edgekd.errors import UsageError
from edgekd.schema import Field, Schema

Activation = Literal["gelu", "relu"]
"""What stands between the two layers of a feed-forward part."""
Norm = Literal["layernorm", "nonorm"]
"""What stands before attention, feed-forward part and head."""


class NoNorm(nn.Module):
    """Scales and shifts every channel, gamma * x + beta, without statistics of x (..., D).

    From MobileBERT (Sun, Yu, Song, Liu, Yang and Zhou 2020, arXiv 2004.02984), which has it, and ReLU for GELU, in the
    place of LayerNorm because both are slow on devices. There it follows the sum with the shortcut, and what trains the
    network is the transfer of a teacher's layers; in a pre-norm network, and alone, it is edgekd's choice.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        """Return (..., D)."""
        return x * self.weight + self.bias


_ACTIVATIONS: dict[Activation, Callable[[], nn.Module]] = {"gelu": nn.GELU, "relu": nn.ReLU}
_NORMS: dict[Norm, Callable[[int], nn.LayerNorm | NoNorm]] = {"layernorm": nn.LayerNorm, "nonorm": NoNorm}


def norm_of(kind: Norm, width: int) -> nn.LayerNorm | NoNorm:
    """Return a fresh norm over the last axis, of so many channels."""
    return _NORMS[kind](width)


def stacked(network: nn.Module) -> dict[str, int]:
    """Return by path the layers that consist of several of equal size, one behind the other, and of how many."""
    return {
        f"{path}.{layer}" if path else layer: count
        for path, part in network.named_modules()
        if isinstance(part, Attention)
        for layer, count in part.stacked.items()
    }


class Attention(nn.Module):
    """Multi-head self-attention over tokens (B, T, D); with `causal` tokens nobody looks ahead."""

    stacked: ClassVar[dict[str, int]] = {"qkv": 3}
    """Of how many layers of equal size one consists: its first rows belong to the first of them only."""

    def __init__(self, width: int, heads: int, causal: int = 0) -> None:
        super().__init__()
        self.heads, self.head_width = heads, width // heads
        self.qkv = nn.Linear(width, 3 * width)
        self.softmax = nn.Softmax(-1)
        self.out = nn.Linear(width, width)
        ahead = torch.full((causal, causal), -torch.inf).triu(1) if causal else torch.zeros(())
        self.register_buffer("mask", ahead, persistent=False)
        self.mask: Tensor

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, T, D)."""
        batch, tokens, _ = x.shape
        qkv = self.qkv(x).reshape(batch, tokens, 3, self.heads, self.head_width).permute(2, 0, 3, 1, 4)
        q, k, v = qkv[0], qkv[1], qkv[2]
        attended = self.weights(q @ k.transpose(2, 3) * self.head_width**-0.5) @ v
        out: Tensor = self.out(attended.transpose(1, 2).flatten(2))
        return out

    def weights(self, scores: Tensor) -> Tensor:
        """Return the weights (B, heads, T, T) of scores."""
        found: Tensor = self.softmax(scores + self.mask)
        return found


class Block(nn.Module):
    """Attention and a feed-forward part, each added to what comes in."""

    def __init__(
        self,
        width: int,
        heads: int,
        hidden: int,
        causal: int = 0,
        *,
        activation: Activation = "gelu",
        norm: Norm = "layernorm",
    ) -> None:
        super().__init__()
        self.norm1 = norm_of(norm, width)
        self.attention = Attention(width, heads, causal)
        self.norm2 = norm_of(norm, width)
        self.fc1 = nn.Linear(width, hidden)
        self.act = _ACTIVATIONS[activation]()
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, T, D)."""
        x = x + self.attention(self.norm1(x))
        out: Tensor = x + self.fc2(self.act(self.fc1(self.norm2(x))))
        return out


class TokenEmbedding(nn.Module):
    """Tokens (B, T) as vectors (B, T, D), each with that of its place."""

    def __init__(self, vocabulary: int, tokens: int, width: int) -> None:
        super().__init__()
        self.token = nn.Embedding(vocabulary, width)
        self.position = nn.Parameter(torch.zeros(1, tokens, width))
        nn.init.normal_(self.token.weight, std=0.02)
        nn.init.normal_(self.position, std=0.02)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return (B, T, D)."""
        out: Tensor = self.token(tokens) + self.position
        return out


class TextSize(Schema):
    """Size of a transformer that reads characters."""

    vocabulary: int = Field(default=128, ge=2, le=1_000_000, description="tokens there are; 128: characters")
    depth: int = Field(default=4, ge=1, le=64, description="blocks")
    width: int = Field(default=96, ge=1, le=4096, description="values of a token")
    heads: int = Field(default=4, ge=1, le=64, description="attention heads; they divide the width")
    expansion: float = Field(default=2.0, gt=0, le=16, description="hidden units of a block, by its width")


class TextTransformer(nn.Module):
    """Tokens (B, T) to logits: (B, K) from their mean or, `causal`, (B, T, K) from each and those before it."""

    def __init__(self, size: TextSize, tokens: int, classes: int, *, causal: bool) -> None:
        super().__init__()
        self.embedding = TokenEmbedding(size.vocabulary, tokens, size.width)
        self.blocks = blocks(size.depth, size.width, size.heads, size.expansion, tokens if causal else 0)
        self.norm = nn.LayerNorm(size.width)
        self.head = nn.Linear(size.width, classes)
        self.causal = causal

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the logits."""
        x = self.embedding(tokens)
        for block in self.blocks:
            x = block(x)
        x = self.norm(x)
        out: Tensor = self.head(x if self.causal else x.mean(1))
        return out


def blocks(
    depth: int,
    width: int,
    heads: int,
    expansion: float,
    causal: int = 0,
    *,
    activation: Activation = "gelu",
    norm: Norm = "layernorm",
) -> nn.ModuleList:
    """Return `depth` blocks; raises UsageError when the heads do not divide the width."""
    if width % heads:
        raise UsageError(f"a width of {width} cannot be dealt out to {heads} heads; choose a multiple of {heads}")
    hidden = round(width * expansion)
    made = nn.ModuleList(Block(width, heads, hidden, causal, activation=activation, norm=norm) for _ in range(depth))
    for module in made.modules():
        if isinstance(module, nn.Linear):
            nn.init.trunc_normal_(module.weight, std=0.02)
            nn.init.zeros_(module.bias)
    return made
