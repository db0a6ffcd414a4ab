"""Contract suite: every built-in network family."""

from __future__ import annotations

import pytest
import torch
import torch_pruning as tp
from torch import nn

from edgekd.models.build import build
from edgekd.models.kernels import kernels
from edgekd.models.network import NETWORKS
from edgekd.recipe import ModelSpec

SHAPES = [(1, 28, 28), (3, 32, 32)]


def fresh(name: str, shape: tuple[int, int, int] = SHAPES[0]) -> nn.Module:
    torch.manual_seed(0)
    return build(ModelSpec(name=name), shape, 7)


@pytest.mark.parametrize("name", NETWORKS.names())
@pytest.mark.parametrize("shape", SHAPES)
def test_maps_images_to_finite_logits_of_sane_size(name: str, shape: tuple[int, int, int]) -> None:
    model = fresh(name, shape)
    logits = model(torch.randn(4, *shape))
    assert logits.shape == (4, 7)
    assert 1e-3 < logits.std() < 100


@pytest.mark.parametrize("name", NETWORKS.names())
def test_same_seed_same_weights(name: str) -> None:
    first, second = fresh(name).state_dict(), fresh(name).state_dict()
    assert all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize("name", NETWORKS.names())
def test_the_gradient_reaches_every_parameter(name: str) -> None:
    model = fresh(name)
    nn.functional.cross_entropy(model(torch.randn(8, *SHAPES[0])), torch.arange(8) % 7).backward()
    dead = [key for key, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert not dead


@pytest.mark.parametrize("name", NETWORKS.names())
def test_torch_export_sees_plain_patterns_and_computes_the_same_at_another_batch(name: str) -> None:
    model = fresh(name).eval()
    batch = torch.export.Dim("batch", min=1, max=64)
    program = torch.export.export(model, (torch.randn(2, *SHAPES[0]),), dynamic_shapes=({0: batch},))
    x = torch.randn(5, *SHAPES[0])
    torch.testing.assert_close(program.module()(x), model(x))
    for node in program.graph.nodes:
        if "batch_norm" in str(node.target):
            convolution = node.args[0]
            assert "conv2d" in str(convolution.target)
            assert len(convolution.users) == 1


@pytest.mark.parametrize("name", NETWORKS.names())
def test_pruning_halves_every_inner_width(name: str) -> None:
    model = fresh(name)
    example = torch.randn(2, *SHAPES[0])
    before = kernels(model, SHAPES[0])
    tp.pruner.BasePruner(
        model,
        example,
        importance=tp.importance.GroupMagnitudeImportance(),
        pruning_ratio=0.5,
        ignored_layers=[module for module in model.modules() if isinstance(module, nn.Linear)],
    ).step()
    assert model(example).shape == (2, 7)
    after = kernels(model, SHAPES[0])
    assert [kernel.name for kernel in after] == [kernel.name for kernel in before]
    convolutions = [(b, a) for b, a in zip(before, after, strict=True) if b.op == "conv"]
    assert all(a.out_channels == b.out_channels // 2 for b, a in convolutions)
