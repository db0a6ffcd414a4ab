"""Modules that stand where a network's own cannot be pruned, or are no longer needed; a checkpoint puts them back."""

from __future__ import annotations

import copy
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgekd.models.multiplexed import MixedHeads, NeighbourNorm


class Skipped(nn.Module):
    """Stands for a residual block that was taken out: gives its first input as it is."""

    @classmethod
    def of(cls, module: nn.Module) -> Self:
        """Return what stands for a module."""
        del module
        return cls()

    def forward(self, x: Tensor, *_: Any, **__: Any) -> Tensor:
        """Return the input."""
        return x


class Nothing(nn.Module):
    """Stands for a layer that was taken out whose output is added to something: gives a zero of its input's type.

    For an attention of torch's it gives what these give, the zero and no weights.
    """

    in_proj_bias = None  # what torch's encoder layers look at before they take their fused path
    batch_first = False

    def __init__(self, *, attention: bool) -> None:
        super().__init__()
        self._attention = attention

    @classmethod
    def of(cls, module: nn.Module) -> Self:
        """Return what stands for a module."""
        return cls(attention=isinstance(module, nn.MultiheadAttention | OpenAttention))

    def forward(self, x: Tensor, *_: Any, **__: Any) -> Tensor | tuple[Tensor, None]:
        """Return zero, a scalar."""
        zero = x.new_zeros(())
        return (zero, None) if self._attention else zero


class OpenAttention(nn.Module):
    """Stands for nn.MultiheadAttention, whose heads have to fill the width of its input: here they need not.

    Without bias_k, bias_v and add_zero_attn. It has none of the fused operators torch uses in inference, which know
    whole heads only.
    """

    in_proj_bias = None  # what torch's encoder layers look at before they take their fused path
    _qkv_same_embed_dim = False

    def __init__(self, width: int, heads: int, *, bias: bool, dropout: float, batch_first: bool) -> None:
        super().__init__()
        self.num_heads, self.dropout, self.batch_first = heads, dropout, batch_first
        self.in_proj = nn.Linear(width, 3 * width, bias)
        self.out_proj = nn.Linear(width, width, bias)

    @classmethod
    def of(cls, module: nn.MultiheadAttention) -> Self:
        """Return what stands for a module, with its weights."""
        own = cls(
            module.embed_dim,
            module.num_heads,
            bias=module.in_proj_bias is not None,
            dropout=module.dropout,
            batch_first=module.batch_first,
        )
        own.in_proj.weight, own.in_proj.bias = module.in_proj_weight, module.in_proj_bias
        own.out_proj.weight, own.out_proj.bias = module.out_proj.weight, module.out_proj.bias
        return own.train(module.training)

    def forward(  # noqa: PLR0917 - the signature of what it stands for
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """Return (N, T, E), or (T, N, E) without `batch_first`, and the weights (N, T, S), or None, by default."""
        del is_causal  # a hint: the mask says the same
        q, k, v = self._projected(query, key, value)
        scores = q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5
        if attn_mask is not None:  # (T, S), or (N x heads, T, S)
            scores = _masked(
                scores, attn_mask.view(len(q), -1, *attn_mask.shape[1:]) if attn_mask.dim() == 3 else attn_mask
            )
        if key_padding_mask is not None:  # (N, S)
            scores = _masked(scores, key_padding_mask[:, None, None, :])
        weights = torch.softmax(scores, -1)
        attended = F.dropout(weights, self.dropout, self.training) @ v
        out = self.out_proj(attended.transpose(1, 2).flatten(2))
        out = out if self.batch_first else out.transpose(0, 1)
        if not need_weights:
            return out, None
        return out, weights.mean(1) if average_attn_weights else weights

    def _projected(self, query: Tensor, key: Tensor, value: Tensor) -> list[Tensor]:
        if query is key and key is value:
            found = self.in_proj(query).chunk(3, -1)
        else:
            weights = self.in_proj.weight.chunk(3)
            bias: Tensor | None = self.in_proj.bias
            biases = (None,) * 3 if bias is None else bias.chunk(3)
            found = [F.linear(x, w, b) for x, w, b in zip((query, key, value), weights, biases, strict=True)]
        found = [x if self.batch_first else x.transpose(0, 1) for x in found]
        return [x.reshape(*x.shape[:2], self.num_heads, -1).transpose(1, 2) for x in found]


STAND_INS: dict[str, type[Skipped | Nothing | OpenAttention | MixedHeads | NeighbourNorm]] = {
    "skipped": Skipped,
    "nothing": Nothing,
    "open-attention": OpenAttention,
    "mixed-heads": MixedHeads,
    "neighbour-norm": NeighbourNorm,
}


def replace(model: nn.Module, path: str, name: str) -> None:
    """Put the stand-in of that name in the place of a module, wherever the model uses it."""
    own = model.get_submodule(path)
    other = STAND_INS[name].of(own)  # type: ignore[arg-type]
    for parent in list(model.modules()):
        for key, child in list(parent.named_children()):
            if child is own:
                setattr(parent, key, other)


def stand_ins(model: nn.Module) -> dict[str, str]:
    """Return by path the names of the stand-ins a model has."""
    kinds = {kind: name for name, kind in STAND_INS.items()}
    return {path: kinds[type(module)] for path, module in model.named_modules() if type(module) in kinds}


def opened(model: nn.Module) -> nn.Module:
    """Return a model whose attention can lose heads: itself, or a copy in which nn.MultiheadAttention is replaced."""
    found = [
        path
        for path, module in model.named_modules()
        if type(module) is nn.MultiheadAttention
        and module._qkv_same_embed_dim
        and module.bias_k is None
        and not module.add_zero_attn
    ]
    if found:
        model = copy.deepcopy(model)
    for path in found:
        replace(model, path, "open-attention")
    return model


def _masked(scores: Tensor, mask: Tensor) -> Tensor:
    return scores.masked_fill(mask, -torch.inf) if mask.dtype == torch.bool else scores + mask
