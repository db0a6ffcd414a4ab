"""The operators of a ViT that devices prefer go through the chain: pruned and exported it still answers alike."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from edgekd.errors import UsageError
from edgekd.export.onnx_file import write
from edgekd.models.build import build
from edgekd.models.kernels import kernels, macs
from edgekd.models.transformer import NoNorm
from edgekd.prune.surgery import apply
from edgekd.prune.trial import prunable
from edgekd.recipe import ModelSpec
from edgekd.train import checkpoint

SHAPE = (1, 16, 16)
SWAPPED = {"activation": "relu", "norm": "nonorm"}


def made(**options: object) -> nn.Module:
    """Return a small ViT in which no number is zero or one."""
    torch.manual_seed(0)
    model = build(ModelSpec(name="vit", options={"depth": 2, "width": 48, **options}), SHAPE, 4).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def images(count: int = 5) -> torch.Tensor:
    return torch.rand((count, *SHAPE), generator=torch.Generator().manual_seed(1))


def operators(model: nn.Module, file: Path) -> set[str]:
    write(model, file, SHAPE)
    return {node.op_type for node in onnx.load(file).graph.node}


def test_the_default_is_what_it_was() -> None:
    model = made()
    kinds = [type(module) for module in model.modules()]
    assert (kinds.count(nn.LayerNorm), kinds.count(nn.GELU), kinds.count(NoNorm)) == (5, 2, 0)
    named = made(activation="gelu", norm="layernorm")
    named.load_state_dict(model.state_dict())
    with torch.no_grad():
        assert torch.equal(named(images()), model(images()))


def test_no_norm_scales_and_shifts_every_channel_on_its_own() -> None:
    norm = NoNorm(3)
    x = torch.randn(2, 5, 3)
    assert torch.equal(norm(x), x)
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([1.0, 2.0, 0.5]))
        norm.bias.copy_(torch.tensor([0.0, -1.0, 3.0]))
    torch.testing.assert_close(norm(x)[..., 1], 2 * x[..., 1] - 1)
    torch.testing.assert_close(norm(x)[..., 2], x[..., 2] / 2 + 3)


def test_swapped_operators_are_no_kernels_and_leave_the_exported_graph(tmp_path: Path) -> None:
    whole, swapped = made(), made(**SWAPPED)
    assert {"LayerNormalization", "Gelu"} <= operators(whole, tmp_path / "whole.onnx")
    found = operators(swapped, tmp_path / "swapped.onnx")
    assert not {"LayerNormalization", "Gelu", "Erf", "Sqrt", "Pow"} & found
    assert {"Relu", "Mul", "Add"} <= found
    before, after = kernels(whole, SHAPE), kernels(swapped, SHAPE)
    assert macs(before) == macs(after)
    gone = [kernel.name for kernel in before if kernel not in after]
    assert len(before) - len(after) == len(gone) == 5 + 2
    assert all(name.endswith(("layer_norm", "gelu")) for name in gone)


@pytest.mark.parametrize("operator", [{}, {"activation": "relu"}, {"norm": "nonorm"}, SWAPPED])
def test_pruned_saved_and_exported_it_answers_alike(operator: dict[str, str], tmp_path: Path) -> None:
    model = made(**operator)
    found = prunable(model, SHAPE)
    assert {group.kind for group in found.groups} == {"channels", "heads", "head width"}
    assert list(found.fixed) == ["head"]
    kept = {group.name: range(1, max(2, group.channels // 2 + 1)) for group in found.groups}
    small = apply(model, found.groups, kept, images())
    for norm in (module for module in small.modules() if isinstance(module, NoNorm)):
        assert len(norm.weight) == len(norm.bias) == 24
    spec = ModelSpec(name="vit", options={"depth": 2, "width": 48, **operator})
    checkpoint.save(small, tmp_path / "saved", spec, SHAPE, 4, images())
    write(small, tmp_path / "small.onnx", SHAPE)
    (answer,) = onnxruntime.InferenceSession(tmp_path / "small.onnx").run(None, {"input": images().numpy()})
    with torch.no_grad():
        expected, again = small(images()).numpy(), checkpoint.load(tmp_path / "saved")(images()).numpy()
    assert np.array_equal(again, expected)
    np.testing.assert_allclose(answer, expected, atol=1e-4 * max(1.0, float(np.abs(expected).max())))


def test_an_unknown_operator_is_refused() -> None:
    with pytest.raises(UsageError, match="activation"):
        made(activation="swish")
