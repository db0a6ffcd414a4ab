from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from edgekd.errors import EdgekdError, UsageError
from edgekd.models.build import build
from edgekd.placement.scheme import SCHEMES
from edgekd.quantize import checkpoint as quantized
from edgekd.quantize.prepare import calibrate, prepare
from edgekd.recipe import ModelSpec
from edgekd.train import checkpoint
from tests.models import INPUT_SHAPE

SPEC = ModelSpec(factory="tests.models:ResidualCnn")


def narrow(model: nn.Module) -> nn.Module:
    """Take 16 of 32 channels from the second block, as pruning would."""
    with torch.no_grad():
        for conv, norm in ((model.second, model.second_norm), (model.shortcut, model.shortcut_norm)):
            conv.weight, conv.out_channels = nn.Parameter(conv.weight[:16].clone()), 16
            for name in ("weight", "bias"):
                setattr(norm, name, nn.Parameter(getattr(norm, name)[:16].clone()))
            norm.running_mean, norm.running_var, norm.num_features = norm.running_mean[:16], norm.running_var[:16], 16
        model.head.weight, model.head.in_features = nn.Parameter(model.head.weight[:, :16].clone()), 16
    return model


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, nn.Module]:
    torch.manual_seed(3)
    folder = tmp_path_factory.mktemp("saved")
    model = narrow(build(SPEC, INPUT_SHAPE, 4)).eval()
    images = torch.randn(32, *INPUT_SHAPE)
    checkpoint.save(model, folder / "float", SPEC, INPUT_SHAPE, 4, images[:2])
    module = prepare(model, images[:2], SCHEMES["u8w7"])
    calibrate(module, images.numpy())
    with torch.no_grad():
        module.get_submodule("quantized.x").step.factor.mul_(1.25)  # as if it had been learned
    module.to(memory_format=torch.channels_last)
    quantized.save(module, folder / "u8w7", SCHEMES["u8w7"], checkpoint.describe(folder / "float"), images[:2])
    return folder, module


def test_a_pruned_and_quantized_network_comes_back_the_same(saved: tuple[Path, nn.Module]) -> None:
    folder, module = saved
    loaded = quantized.load(folder / "u8w7")
    x = torch.randn(7, *INPUT_SHAPE)
    with torch.no_grad():
        torch.testing.assert_close(loaded(x), module(x), atol=1e-3, rtol=0)
    assert {path.suffix for path in (folder / "u8w7").iterdir()} == {".json", ".safetensors"}
    loaded.train()(x).sum().backward()


def test_a_fresh_process_gets_the_same_answer(saved: tuple[Path, nn.Module], tmp_path: Path) -> None:
    folder, _ = saved
    torch.manual_seed(9)
    x = torch.randn(5, *INPUT_SHAPE)
    torch.save(x, tmp_path / "x.pt")
    code = (
        "import sys, torch; from pathlib import Path; from edgekd.quantize.checkpoint import load\n"
        "m = load(Path(sys.argv[1])); x = torch.load(sys.argv[2])\n"
        "torch.save(m(x).detach(), sys.argv[3])"
    )
    arguments = [str(folder / "u8w7"), str(tmp_path / "x.pt"), str(tmp_path / "y.pt")]
    root = Path(__file__).resolve().parents[2]
    subprocess.run([sys.executable, "-c", code, *arguments], check=True, cwd=root, timeout=120)
    with torch.no_grad():
        expected = quantized.load(folder / "u8w7")(x)
    assert torch.equal(torch.load(tmp_path / "y.pt"), expected)


def test_the_number_of_threads_does_not_matter_and_is_left_alone(saved: tuple[Path, nn.Module]) -> None:
    folder, _ = saved
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        quantized.load(folder / "u8w7")
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_a_float_network_is_not_taken_for_a_quantized_one(saved: tuple[Path, nn.Module]) -> None:
    folder, _ = saved
    with pytest.raises(UsageError, match="holds a float network"):
        quantized.load(folder / "float")


def test_damage_is_noticed(saved: tuple[Path, nn.Module], tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder, _ = saved
    copied = tmp_path / "copy"
    copied.mkdir()
    for path in (folder / "u8w7").iterdir():
        (copied / path.name).write_bytes(path.read_bytes())
    weights = load_file(copied / "weights.safetensors")
    weights["head.weight"] = weights["head.weight"] * 1.5
    save_file(weights, copied / "weights.safetensors")
    with pytest.raises(EdgekdError, match="answers the recorded input differently"):
        quantized.load(copied)
