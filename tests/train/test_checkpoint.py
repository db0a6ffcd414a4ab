"""A saved network comes back from data alone, or says why not."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch_pruning as tp
from safetensors.torch import load_file, save_file
from torch import nn

from edgekd.errors import EdgekdError, UsageError
from edgekd.models.build import build
from edgekd.models.kernels import parameters
from edgekd.models.network import NETWORKS
from edgekd.recipe import ModelSpec
from edgekd.train import checkpoint
from tests.models import INPUT_SHAPE, TINY, settled
from tests.models.test_networks import TRANSFORMERS

FACTORIES = {"residual": "ResidualCnn", "depthwise": "DepthwiseCnn", "mlp": "Mlp"}
PROBE = torch.randn(1, *INPUT_SHAPE, generator=torch.Generator().manual_seed(1))


def spec(name: str) -> ModelSpec:
    return ModelSpec(factory=f"tests.models:{FACTORIES[name]}")


def pruned(model: nn.Module, shape: tuple[int, int, int]) -> nn.Module:
    """Return the module with half of its inner channels gone."""
    last = [module for module in model.modules() if isinstance(module, nn.Linear)][-1]
    tp.pruner.BasePruner(
        model,
        torch.randn(1, *shape),
        importance=tp.importance.GroupMagnitudeImportance(),
        pruning_ratio=0.5,
        ignored_layers=[last],
    ).step()
    return model


def saved(folder: Path, name: str = "residual") -> nn.Module:
    model = settled(name)
    checkpoint.save(model, folder, spec(name), INPUT_SHAPE, 4, PROBE)
    return model


@pytest.mark.parametrize("surgery", [False, True], ids=["whole", "pruned"])
@pytest.mark.parametrize("name", TINY)
def test_it_comes_back_to_the_bit(tmp_path: Path, name: str, surgery: bool) -> None:
    model = settled(name)
    if surgery:
        size = parameters(model)
        assert parameters(pruned(model, INPUT_SHAPE)) < 0.7 * size
    checkpoint.save(model, tmp_path / "m", spec(name), INPUT_SHAPE, 4, PROBE)
    loaded = checkpoint.load(tmp_path / "m")
    assert not loaded.training
    x = torch.randn(5, *INPUT_SHAPE)
    with torch.no_grad():
        assert torch.equal(loaded(x), model.eval()(x))
    assert str(loaded) == str(model)
    loaded.train()(x).sum().backward()
    assert all(p.grad is not None and p.grad.shape == p.shape for p in loaded.parameters())


@pytest.mark.parametrize("name", [name for name in NETWORKS.names() if name not in TRANSFORMERS])
def test_pruned_built_in_networks_come_back(tmp_path: Path, name: str) -> None:
    model = pruned(build(ModelSpec(name=name), (1, 20, 20), 5), (1, 20, 20)).eval()
    probe = torch.randn(1, 1, 20, 20)
    checkpoint.save(model, tmp_path / "m", ModelSpec(name=name), (1, 20, 20), 5, probe)
    with torch.no_grad():
        assert torch.equal(checkpoint.load(tmp_path / "m")(probe), model(probe))
    assert checkpoint.describe(tmp_path / "m").parameters == sum(p.numel() for p in model.parameters())


def test_it_comes_back_in_a_fresh_process_to_the_same_answer(tmp_path: Path) -> None:
    model = pruned(settled("residual"), INPUT_SHAPE)
    checkpoint.save(model, tmp_path / "m", spec("residual"), INPUT_SHAPE, 4, PROBE)
    code = (
        "import sys, torch; from pathlib import Path; from edgekd.train import checkpoint\n"
        "from safetensors.torch import load_file\n"
        "torch.set_num_threads(1); folder = Path(sys.argv[1]); model = checkpoint.load(folder)\n"
        "probe = load_file(folder / 'probe.safetensors')\n"
        "print((model(probe['input']) - probe['output']).abs().max().item())"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "m")]
    root = Path(__file__).resolve().parents[2]
    run = subprocess.run(command, capture_output=True, text=True, check=False, cwd=root)
    assert run.returncode == 0, run.stderr
    assert float(run.stdout) < 1e-6


def test_the_files_are_data_and_the_same_every_time(tmp_path: Path) -> None:
    saved(tmp_path / "a")
    saved(tmp_path / "b")
    names = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert names == ["description.json", "probe.safetensors", "weights.safetensors"]
    assert all((tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes() for name in names)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def test_the_model_is_left_as_it_was_and_the_weights_of_the_spec_are_not_needed(tmp_path: Path) -> None:
    model = settled("residual").train()
    named = spec("residual").replace(weights="gone.safetensors")
    checkpoint.save(model, tmp_path / "m", named, INPUT_SHAPE, 4, PROBE, {"scheme": "u8w7"})
    assert model.training
    checkpoint.load(tmp_path / "m")
    assert checkpoint.describe(tmp_path / "m").extra == {"scheme": "u8w7"}


def test_loading_draws_no_random_numbers(tmp_path: Path) -> None:
    saved(tmp_path / "m")
    torch.manual_seed(0)
    expected = torch.rand(2)
    torch.manual_seed(0)
    checkpoint.load(tmp_path / "m")
    assert torch.equal(torch.rand(2), expected)


def test_rebuild_takes_the_place_of_the_specification(tmp_path: Path) -> None:
    saved(tmp_path / "m")
    asked: list[checkpoint.Description] = []

    def rebuild(description: checkpoint.Description) -> nn.Module:
        asked.append(description)
        return TINY["residual"]()

    checkpoint.load(tmp_path / "m", rebuild)
    assert asked[0].spec == spec("residual")


def test_shared_weights_come_back(tmp_path: Path) -> None:
    model = settled("mlp")
    model.again = model.second
    checkpoint.save(model, tmp_path / "m", spec("mlp"), INPUT_SHAPE, 4, PROBE)

    def rebuild(description: checkpoint.Description) -> nn.Module:
        module = TINY["mlp"]()
        module.again = module.second
        return module

    loaded = checkpoint.load(tmp_path / "m", rebuild)
    assert loaded.again is loaded.second


def test_other_weights_are_noticed_by_the_recorded_answer(tmp_path: Path) -> None:
    saved(tmp_path / "m")
    path = tmp_path / "m" / "weights.safetensors"
    weights = load_file(path)
    weights["head.bias"] += 0.01
    save_file(weights, path)
    with pytest.raises(EdgekdError, match=r"answers the recorded input differently \(by 0.01\)"):
        checkpoint.load(tmp_path / "m")


def test_an_answer_that_is_nan_is_noticed(tmp_path: Path) -> None:
    saved(tmp_path / "m")
    path = tmp_path / "m" / "weights.safetensors"
    weights = load_file(path)
    weights["head.bias"] += float("nan")
    save_file(weights, path)
    with pytest.raises(EdgekdError, match="differently"):
        checkpoint.load(tmp_path / "m")


@pytest.mark.parametrize("file", ["description.json", "weights.safetensors", "probe.safetensors"])
@pytest.mark.parametrize("damage", ["missing", "cut"])
def test_missing_and_cut_files_are_named(tmp_path: Path, file: str, damage: str) -> None:
    saved(tmp_path / "m")
    path = tmp_path / "m" / file
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(UsageError, match=file):
        checkpoint.load(tmp_path / "m")


def test_code_that_changed_since_is_named(tmp_path: Path) -> None:
    saved(tmp_path / "m")
    path = tmp_path / "m" / "description.json"
    plain = json.loads(path.read_text())
    plain["attributes"]["third"] = plain["attributes"].pop("first")
    path.write_text(json.dumps(plain))
    with pytest.raises(EdgekdError, match="no layer 'third' any more"):
        checkpoint.load(tmp_path / "m")


def test_weights_of_another_network_do_not_fit(tmp_path: Path) -> None:
    saved(tmp_path / "m")
    with pytest.raises(EdgekdError, match="the weights do not fit the network"):
        checkpoint.load(tmp_path / "m", lambda description: TINY["mlp"]())
