"""Contract suite: every built-in network family."""

from __future__ import annotations

import pytest
import torch
import torch_pruning as tp
from torch import Tensor, nn

from edgekd.errors import UsageError
from edgekd.models.build import build
from edgekd.models.kernels import kernels
from edgekd.models.network import NETWORKS
from edgekd.recipe import ModelSpec

SHAPES = {"images": [(1, 28, 28), (3, 32, 32)], "texts": [(24,), (50,)]}
TRANSFORMERS = {"vit", "text-encoder", "causal-lm"}
"""Networks without BatchNorm, whose widths are coupled by attention."""


def shapes(name: str) -> list[tuple[int, ...]]:
    return SHAPES[NETWORKS.get(name).eats]


def fresh(name: str, shape: tuple[int, ...] | None = None) -> nn.Module:
    torch.manual_seed(0)
    return build(ModelSpec(name=name), shape or shapes(name)[0], 7)


def inputs(name: str, count: int, shape: tuple[int, ...] | None = None) -> Tensor:
    shape = shape or shapes(name)[0]
    if len(shape) == 1:
        return torch.randint(0, 128, (count, *shape), generator=torch.Generator().manual_seed(0))
    return torch.randn(count, *shape, generator=torch.Generator().manual_seed(0))


def rows(logits: Tensor) -> Tensor:
    """Return one row an input, of a network that decides at every position its last."""
    return logits[:, -1] if logits.dim() == 3 else logits


@pytest.mark.parametrize("name", NETWORKS.names())
@pytest.mark.parametrize("number", [0, 1])
def test_maps_inputs_to_finite_logits_of_sane_size(name: str, number: int) -> None:
    shape = shapes(name)[number]
    logits = fresh(name, shape)(inputs(name, 4, shape))
    assert logits.shape in {(4, 7), (4, *shape, 7)}
    assert 1e-3 < logits.std() < 100


@pytest.mark.parametrize("name", NETWORKS.names())
def test_the_other_kind_of_input_is_refused(name: str) -> None:
    other = SHAPES["texts" if NETWORKS.get(name).eats == "images" else "images"][0]
    with pytest.raises(UsageError, match=r"this network is made for|cannot run on an input"):
        fresh(name, other)


@pytest.mark.parametrize("name", NETWORKS.names())
def test_same_seed_same_weights(name: str) -> None:
    first, second = fresh(name).state_dict(), fresh(name).state_dict()
    assert all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize("name", NETWORKS.names())
def test_the_gradient_reaches_every_parameter(name: str) -> None:
    model = fresh(name)
    nn.functional.cross_entropy(rows(model(inputs(name, 8))), torch.arange(8) % 7).backward()
    dead = [key for key, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert not dead


@pytest.mark.parametrize("name", NETWORKS.names())
def test_torch_export_sees_plain_patterns_and_computes_the_same_at_another_batch(name: str) -> None:
    model = fresh(name).eval()
    batch = torch.export.Dim("batch", min=1, max=64)
    program = torch.export.export(model, (inputs(name, 2),), dynamic_shapes=({0: batch},))
    x = inputs(name, 5)
    torch.testing.assert_close(program.module()(x), model(x))
    for node in program.graph.nodes:
        if "batch_norm" in str(node.target):
            convolution = node.args[0]
            assert "conv2d" in str(convolution.target)
            assert len(convolution.users) == 1


@pytest.mark.parametrize("name", [name for name in NETWORKS.names() if name not in TRANSFORMERS])
def test_pruning_halves_every_inner_width(name: str) -> None:
    model = fresh(name)
    example = torch.randn(2, *shapes(name)[0])
    before = kernels(model, shapes(name)[0])
    tp.pruner.BasePruner(
        model,
        example,
        importance=tp.importance.GroupMagnitudeImportance(),
        pruning_ratio=0.5,
        ignored_layers=[module for module in model.modules() if isinstance(module, nn.Linear)],
    ).step()
    assert model(example).shape == (2, 7)
    after = kernels(model, shapes(name)[0])
    assert [kernel.name for kernel in after] == [kernel.name for kernel in before]
    convolutions = [(b, a) for b, a in zip(before, after, strict=True) if b.op == "conv"]
    assert all(a.out_channels == b.out_channels // 2 for b, a in convolutions)
