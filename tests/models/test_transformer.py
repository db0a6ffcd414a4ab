"""The transformer's parts: nobody looks ahead, and attention can be tapped."""

from __future__ import annotations

import pytest
import torch

from edgekd.errors import UsageError
from edgekd.models.build import build
from edgekd.recipe import ModelSpec


def test_a_causal_network_does_not_look_ahead() -> None:
    torch.manual_seed(0)
    model = build(ModelSpec(name="causal-lm"), (16,), 9).eval()
    text = torch.randint(0, 128, (2, 16))
    changed = text.clone()
    changed[:, 10:] = (changed[:, 10:] + 1) % 128
    with torch.no_grad():
        first, second = model(text), model(changed)
    assert torch.allclose(first[:, :10], second[:, :10], atol=1e-6)
    assert not torch.allclose(first[:, 10:], second[:, 10:], atol=1e-3)


def test_attention_is_a_distribution_that_can_be_tapped() -> None:
    model = build(ModelSpec(name="text-encoder"), (16,), 9)
    maps: list[torch.Tensor] = []
    model.blocks[0].attention.softmax.register_forward_hook(lambda *given: maps.append(given[2]))
    model(torch.randint(0, 128, (2, 16)))
    assert maps[0].shape == (2, 4, 16, 16)
    assert torch.allclose(maps[0].sum(-1), torch.ones(2, 4, 16), atol=1e-5)


def test_heads_that_do_not_divide_the_width_are_refused() -> None:
    with pytest.raises(UsageError, match="cannot be dealt out to 5 heads"):
        build(ModelSpec(name="vit", options={"heads": 5}), (1, 28, 28), 10)


def test_a_patch_larger_than_the_image_is_refused() -> None:
    with pytest.raises(UsageError, match="patches of 32 pixels do not fit"):
        build(ModelSpec(name="vit", options={"patch": 32}), (1, 28, 28), 10)
