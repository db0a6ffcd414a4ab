"""Structures one by one: attention of other people's code, norms, shuffles, weights used twice, blocks."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgekd.models.kernels import kernels, parameters
from edgekd.models.stand_in import opened
from edgekd.prune import depth
from edgekd.prune.surgery import apply
from edgekd.prune.trial import Prunable, prunable
from edgekd.train.loop import Batch

TOKENS = (6, 5)
"""A picture of no channels for `prunable`: six tokens of five values."""


class Separate(nn.Module):
    """Attention as Hugging Face writes it: three projections, sizes as attributes, a scale worked out each time."""

    def __init__(self) -> None:
        super().__init__()
        self.num_attention_heads, self.attention_head_size, self.all_head_size = 4, 6, 24
        self.query, self.key, self.value = nn.Linear(12, 24), nn.Linear(12, 24), nn.Linear(12, 24)
        self.dense = nn.Linear(24, 12)

    def _heads(self, x: Tensor) -> Tensor:
        return x.view(*x.shape[:2], self.num_attention_heads, self.attention_head_size).permute(0, 2, 1, 3)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (self._heads(each(x)) for each in (self.query, self.key, self.value))
        scores = torch.softmax(q @ k.transpose(-1, -2) / self.attention_head_size**0.5, -1)
        return self.dense((scores @ v).permute(0, 2, 1, 3).reshape(*x.shape[:2], self.all_head_size))


class Fused(nn.Module):
    """Attention as timm writes it: one projection, a scale kept as a number, torch's own operator or the product."""

    def __init__(self, *, operator: bool) -> None:
        super().__init__()
        self.num_heads, self.head_dim, self.attn_dim, self.scale = 4, 6, 24, 6**-0.5
        self.qkv, self.proj, self.operator = nn.Linear(12, 72), nn.Linear(24, 12), operator

    def forward(self, x: Tensor) -> Tensor:
        count, tokens, _ = x.shape
        qkv = self.qkv(x).reshape(count, tokens, 3, self.num_heads, self.head_dim).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.unbind(0)
        if self.operator:
            y = F.scaled_dot_product_attention(q, k, v, scale=self.scale)
        else:
            y = (q * self.scale @ k.transpose(-2, -1)).softmax(-1) @ v
        return self.proj(y.transpose(1, 2).reshape(count, tokens, self.attn_dim))


class Linear(nn.Module):
    """Attention without a softmax, which edgekd does not know."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.proj = nn.Linear(12, 36), nn.Linear(12, 12)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).chunk(3, -1)
        return self.proj(q.softmax(-1) @ (k.softmax(1).transpose(1, 2) @ v))


class OfTorch(nn.Module):
    """nn.MultiheadAttention on itself."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(12, 3, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.attention(x, x, x, need_weights=False)[0]


class Encoder(nn.Module):
    """Six tokens of five values, a residual stream of twelve with an attention on it, one class for all."""

    def __init__(self, attention: nn.Module) -> None:
        super().__init__()
        self.embed, self.norm, self.attention = nn.Linear(5, 12), nn.LayerNorm(12), attention
        self.wide, self.narrow, self.head = nn.Linear(12, 20), nn.Linear(20, 12), nn.Linear(12, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        x = x + self.attention(self.norm(x))
        return self.head((x + self.narrow(F.gelu(self.wide(x)))).mean(1))


class TorchEncoder(nn.Module):
    """torch's own encoder layer, which has a fused path in inference."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.head = nn.Linear(5, 12), nn.Linear(12, 4)
        self.layer = nn.TransformerEncoderLayer(12, 3, 20, batch_first=True, norm_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layer(self.embed(x)).mean(1))


class Tied(nn.Module):
    """One layer used twice, and one weight in two layers."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.twice = nn.Linear(5, 12), nn.Linear(12, 12)
        self.one, self.other, self.head = nn.Linear(12, 12, False), nn.Linear(12, 12, False), nn.Linear(12, 4)
        self.other.weight = self.one.weight

    def forward(self, x: Tensor) -> Tensor:
        x = self.twice(F.relu(self.twice(F.relu(self.embed(x)))))
        return self.head((self.one(x).relu() + self.other(x).sigmoid()).mean(1))


class Picture(nn.Module):
    """GroupNorm in two groups, deconvolutions in groups and depthwise, a depthwise convolution that multiplies."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(1, 12, 3, padding=1), nn.GroupNorm(2, 12)
        self.up = nn.ConvTranspose2d(12, 8, 2, 2, groups=2)
        self.each = nn.ConvTranspose2d(8, 8, 2, 2, groups=8)
        self.more, self.head = nn.Conv2d(8, 16, 3, groups=8), nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.up(self.norm(self.stem(x)).relu()).relu()
        return self.head(self.more(self.each(x).relu()).mean((2, 3)))


def cut(model: nn.Module, share: float, shape: tuple[int, ...]) -> tuple[Prunable, nn.Module]:
    """Cut every group to a share and return what was found and what became of it; surgery proves itself."""
    found = prunable(model, shape)
    kept = {group.name: range(max(1, round(share * group.channels))) for group in found.groups}
    small = apply(model, found.groups, kept, torch.zeros(2, *shape))
    assert kernels(small, shape) == found.kernels.at({name: len(stays) for name, stays in kept.items()})
    assert parameters(small) < parameters(model)
    return found, small


ATTENTIONS: dict[str, Callable[[], nn.Module]] = {
    "separate": Separate,
    "fused": lambda: Fused(operator=False),
    "operator": lambda: Fused(operator=True),
    "torch": OfTorch,
}


@pytest.mark.parametrize("share", [0.75, 0.3])
@pytest.mark.parametrize("name", ATTENTIONS)
def test_attention_loses_heads_and_their_width_and_its_numbers_follow(name: str, share: float) -> None:
    torch.manual_seed(0)
    model = opened(Encoder(ATTENTIONS[name]()).eval())
    found, small = cut(model, share, TOKENS)
    kinds = {group.kind: group for group in found.groups if group.kind != "channels"}
    assert set(kinds) == {"heads", "head width"}
    assert list(found.fixed) == ["head"]
    heads = max(1, round(share * kinds["heads"].channels))
    assert getattr(small.attention, "num_heads", getattr(small.attention, "num_attention_heads", 0)) in {0, heads}


def test_heads_of_torchs_encoder_layer_can_go_and_the_answer_is_torchs_own() -> None:
    torch.manual_seed(0)
    model = TorchEncoder().eval()
    own = opened(model)
    x = torch.randn(3, *TOKENS)
    with torch.no_grad():
        torch.testing.assert_close(own(x), model(x))
    found, small = cut(own, 0.5, TOKENS)
    assert small.layer.self_attn.num_heads == 2
    assert [block.name for block in found.blocks] == ["layer"]


def test_an_attention_nobody_knows_keeps_its_size_and_says_so() -> None:
    torch.manual_seed(0)
    found, _ = cut(Encoder(Linear()).eval(), 0.5, TOKENS)
    assert [group.name for group in found.groups] == ["embed", "wide"]
    assert found.fixed["attention.qkv"] == "'softmax' is taken over them"


@pytest.mark.parametrize("share", [0.75, 0.25])
def test_weights_used_twice_are_cut_once(share: float) -> None:
    torch.manual_seed(0)
    found, small = cut(Tied().eval(), share, TOKENS)
    assert list(found.fixed) == ["head"]
    assert small.one.weight is small.other.weight
    assert small.one.in_features == small.other.in_features == small.twice.out_features == round(share * 12)


@pytest.mark.parametrize("share", [0.75, 0.5])
def test_norms_and_deconvolutions_in_groups(share: float) -> None:
    torch.manual_seed(0)
    found, small = cut(Picture().eval(), share, (1, 6, 6))
    assert {group.name: (group.channels, group.unit) for group in found.groups} == {"stem": (6, 2), "up": (4, 2)}
    assert (small.norm.num_groups, small.up.groups, small.each.groups) == (2, 2, round(share * 8))


def test_a_block_that_is_taken_out_gives_what_it_gets() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 12), TorchEncoder().layer, nn.Linear(12, 4)).eval()
    found = prunable(opened(model), TOKENS)
    (block,) = found.blocks
    assert block.name == "1"
    shallow = depth.without(model, ["1"])
    x = torch.randn(3, *TOKENS)
    torch.testing.assert_close(shallow(x), model[2](model[0](x)))
    kept = [kernel for i, kernel in enumerate(found.kernels.whole) if i not in block.kernels]
    assert tuple(kept) == kernels(shallow, TOKENS)
    assert parameters(model) - parameters(shallow) == block.parameters


def test_the_block_that_changes_least_has_the_least_influence() -> None:
    class Adds(nn.Module):
        def __init__(self, scale: float) -> None:
            super().__init__()
            self.inner, self.scale = nn.Linear(5, 5), scale

        def forward(self, x: Tensor) -> Tensor:
            return x + self.scale * self.inner(x)

    torch.manual_seed(0)
    model = nn.Sequential(Adds(1.0), Adds(0.01), Adds(0.3)).eval()
    found = prunable(nn.Sequential(model, nn.Linear(5, 4)).eval(), TOKENS).blocks
    assert [block.name for block in found] == ["0.0", "0.1", "0.2"]
    own = [depth.Block(block.name[2:], block.kernels, block.parameters) for block in found]
    change = depth.influence(model, own, [Batch(torch.randn(16, *TOKENS), torch.zeros(16))])
    assert sorted(change, key=change.__getitem__) == ["1", "2", "0"]
