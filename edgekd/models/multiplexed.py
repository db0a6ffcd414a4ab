"""What a transformer layer keeps of its own where it shares its weights with others (MiniViT; Zhang et al. 2022).

Zhang, Peng, Wu, Liu, Xiao, Fu and Yuan 2022, 'MiniViT: Compressing Vision Transformers with Weight Multiplexing' (CVPR,
arXiv 2204.07154). Both modules start as the identity and stand in the place of the module they change, so that a
checkpoint puts them back by name.
"""

from __future__ import annotations

from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgekd.models.transformer import Attention, NoNorm

_KERNEL = 3
"""Tokens along an axis that the feed-forward part sees of its neighbourhood."""


class MixedHeads(Attention):
    """Stands for the attention of a block: linear maps over its heads before and after the softmax.

    The maps are the paper's, without biases as in its published code. Under a mask the scores are mixed before it.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__(width, heads)
        self.before, self.after = _identity(heads), _identity(heads)

    @classmethod
    def of(cls, module: Attention) -> Self:
        """Return what stands for an attention, with its layers."""
        own = cls(module.out.out_features, module.heads)
        own.head_width, own.qkv, own.softmax, own.out = module.head_width, module.qkv, module.softmax, module.out
        own.mask = module.mask
        return own.train(module.training)

    def weights(self, scores: Tensor) -> Tensor:
        """Return the attention's weights (B, heads, T, T), which need not add up to one, of scores."""
        mixed: Tensor = self.after(super().weights(self.before(scores)))
        return mixed


class NeighbourNorm(nn.Module):
    """Stands for the norm before a feed-forward part: a depthwise convolution over the tokens follows it.

    The convolution and its place, before the feed-forward part, are the paper's. Ours: tokens that are no image lie in
    one row, and those that see nobody ahead convolve what is behind them.
    """

    def __init__(self, norm: nn.LayerNorm | NoNorm) -> None:
        super().__init__()
        self.norm = norm
        self.kernel = nn.Parameter(torch.zeros(0))
        self.lay_out(1, causal=False)

    @classmethod
    def of(cls, module: nn.LayerNorm | NoNorm) -> Self:
        """Return what stands for a norm, for tokens in one row."""
        return cls(module).train(module.training)

    def lay_out(self, rows: int, *, causal: bool) -> None:
        """Take tokens as the places of a grid of so many rows, or as a row; the convolution is the identity again."""
        self.rows, self.causal = rows, int(causal)
        kernel = torch.zeros(len(self.norm.weight), 1, 1 if rows == 1 else _KERNEL, _KERNEL)
        kernel[:, 0, kernel.shape[2] // 2, -1 if causal else _KERNEL // 2] = 1
        self.kernel = nn.Parameter(kernel)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, T, D)."""
        batch, tokens, width = x.shape
        grid = self.norm(x).transpose(1, 2).reshape(batch, width, self.rows, tokens // self.rows)
        high, wide = self.kernel.shape[2:]
        seen = F.conv2d(grid, self.kernel, padding=(high // 2, wide - 1 if self.causal else wide // 2), groups=width)
        return seen[..., : tokens // self.rows].flatten(2).transpose(1, 2)


def _identity(heads: int) -> nn.Conv2d:
    made = nn.Conv2d(heads, heads, 1, bias=False)
    nn.init.dirac_(made.weight)
    return made
