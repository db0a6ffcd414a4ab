"""A model specification becomes the network, or one clear sentence."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from edgekd.errors import UsageError
from edgekd.models.build import build, digest_of_layers
from edgekd.recipe import ModelSpec
from tests.models import INPUT_SHAPE, Mlp, settled

FACTORY = "tests.models:ResidualCnn"


def not_a_module() -> str:
    return "a network"


def failing(size: int) -> nn.Module:
    raise RuntimeError("no such size")


def test_factory_gets_the_options() -> None:
    model = build(ModelSpec(factory=FACTORY, options={"channels": 8}), INPUT_SHAPE, 4)
    assert model.stem.out_channels == 8


def test_weights_are_loaded(tmp_path: Path) -> None:
    expected = settled("residual")
    save_file(expected.state_dict(), tmp_path / "w.safetensors")
    spec = ModelSpec(factory=FACTORY, weights=str(tmp_path / "w.safetensors"))
    x = torch.randn(3, *INPUT_SHAPE)
    assert torch.equal(build(spec, INPUT_SHAPE, 4).eval()(x), expected(x))


def test_building_leaves_batchnorm_and_mode_untouched() -> None:
    model = build(ModelSpec(factory=FACTORY), INPUT_SHAPE, 4)
    assert model.training
    assert model.stem_norm.num_batches_tracked == 0


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"name": "resnt"}, "did you mean 'resnet'"),
        ({"name": "resnet", "options": {"dept": 20}}, "did you mean 'depth'"),
        ({"factory": "tests.models"}, "expected package.module:function"),
        ({"factory": "no_such_module:f"}, "module 'no_such_module' cannot be found"),
        ({"factory": "tests.models:ResidualCn"}, "did you mean 'ResidualCnn'"),
        ({"factory": FACTORY, "options": {"width": 3}}, "unexpected keyword argument 'width'"),
        ({"factory": FACTORY, "options": {"classes": 5}}, r"gives \(2, 5\) .* expected logits of shape \(2, 4\)"),
        ({"factory": FACTORY, "options": {"in_channels": 3}}, "cannot run on an input of shape"),
        ({"factory": f"{__name__}:not_a_module"}, "returned str, not a torch.nn.Module"),
        ({"factory": f"{__name__}:failing", "options": {"size": 3}}, "RuntimeError: no such size"),
    ],
)
def test_faults_of_a_specification_are_named(spec: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        build(ModelSpec.model_validate(spec), INPUT_SHAPE, 4)


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ({}, "'first.bias' is missing, 'first.weight' is missing"),
        ({**Mlp().state_dict(), "more": torch.zeros(1)}, "'more' is unknown"),
        (Mlp(hidden=8).state_dict(), r"has shape \(8,\) instead of \(32,\)"),
    ],
)
def test_weights_that_do_not_fit_are_named(tmp_path: Path, state: dict[str, torch.Tensor], said: str) -> None:
    save_file(state, tmp_path / "w.safetensors")
    spec = ModelSpec(factory="tests.models:Mlp", weights=str(tmp_path / "w.safetensors"))
    with pytest.raises(UsageError, match=said):
        build(spec, INPUT_SHAPE, 4)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("w.pt", b"", "not a .safetensors file"),
        ("absent.safetensors", None, "no such file"),
        ("w.safetensors", b"\x00" * 40, "cannot be read"),
    ],
)
def test_files_that_hold_no_weights_are_named(tmp_path: Path, name: str, content: bytes | None, said: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UsageError, match=said):
        build(ModelSpec(factory="tests.models:Mlp", weights=str(tmp_path / name)), INPUT_SHAPE, 4)


def test_weights_that_are_no_numbers_are_named(tmp_path: Path) -> None:
    state = Mlp().state_dict()
    state["second.bias"][1] = float("inf")
    save_file(state, tmp_path / "w.safetensors")
    with pytest.raises(UsageError, match=r"NaN or infinite, first in 'second\.bias'"):
        build(ModelSpec(factory="tests.models:Mlp", weights=str(tmp_path / "w.safetensors")), INPUT_SHAPE, 4)


def leaving() -> nn.Module:
    raise SystemExit("good bye")


def test_a_factory_cannot_end_the_run() -> None:
    with pytest.raises(UsageError, match=r"failed with options {}: SystemExit: good bye") as caught:
        build(ModelSpec(factory=f"{__name__}:leaving"), INPUT_SHAPE, 4)
    assert caught.value.word == f"{__name__}:leaving"


def test_the_digest_of_the_layers_knows_sizes_and_kinds_only() -> None:
    before = torch.get_rng_state()
    digest = digest_of_layers(ModelSpec(factory=FACTORY), INPUT_SHAPE, 4)
    assert digest == digest_of_layers(ModelSpec(factory=FACTORY, weights="absent.safetensors"), INPUT_SHAPE, 4)
    assert torch.equal(torch.get_rng_state(), before)
    others = [ModelSpec(factory=FACTORY, options={"channels": 8}), ModelSpec(factory="tests.models:DepthwiseCnn")]
    assert len({digest, *(digest_of_layers(spec, INPUT_SHAPE, 4) for spec in others)}) == 3
