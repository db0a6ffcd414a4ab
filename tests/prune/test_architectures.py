"""Every architecture pruning claims, at three widths: it runs, trains, exports, answers alike and comes back."""

from __future__ import annotations

import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from edgekd.export.backend import BACKENDS
from edgekd.export.onnx_file import write
from edgekd.models.kernels import kernels, parameters
from edgekd.models.stand_in import opened
from edgekd.placement.graph import WEIGHTED
from edgekd.placement.scheme import SCHEMES
from edgekd.prune.surgery import apply
from edgekd.prune.trial import Prunable, prunable
from edgekd.quantize.emission import freeze
from edgekd.quantize.layerwise import compare_layers
from edgekd.quantize.prepare import calibrate, prepare
from edgekd.quantize.torch_network import prepared
from edgekd.recipe import ModelSpec
from edgekd.train import checkpoint
from tests.architectures import inputs, settled
from tools.write_pruning_table import NAMES, Reach, reach

ROOT = Path(__file__).resolve().parents[2]
SHARES = (0.75, 0.5, 0.25)
EXPECTED = {
    "resnet": (6, 0, 0, 1, 99),
    "resnet-shrunk": (6, 0, 0, 1, 99),
    "densenet": (8, 0, 0, 0, 99),
    "mobilenetv2": (17, 0, 0, 6, 99),
    "mobilenetv3": (9, 0, 0, 2, 98),
    "mobile-cells": (11, 0, 0, 1, 97),
    "convnext": (5, 0, 0, 3, 98),
    "vit": (3, 2, 2, 2, 99),
    "vit-nonorm": (3, 2, 2, 2, 99),
    "text-encoder": (3, 2, 2, 2, 99),
    "unet": (9, 0, 0, 0, 99),
    "shufflenet": (6, 0, 0, 2, 97),
    "detector": (12, 0, 0, 0, 99),
    "efficientnet-lite0": (24, 0, 0, 9, 99),
}
"""Groups of channels, attentions that lose heads and head width, removable blocks, least reachable MACs in %."""
FIXED = {"detector": "boxes.0.1", "efficientnet-lite0": "_fc"}
"""The output, where it is not made by `head`."""
every_network = pytest.mark.parametrize("name", NAMES)
every_share = pytest.mark.parametrize("share", SHARES)
RELOAD = """
import sys, torch
from pathlib import Path
from edgekd.train import checkpoint
from tests.architectures import ARCHITECTURES, PRUNED_TOO, inputs
for folder in sorted(Path(sys.argv[1]).iterdir()):
    name = folder.name.split("@")[0]
    fresh = (ARCHITECTURES | PRUNED_TOO)[name]()
    model = checkpoint.load(folder, lambda description: checkpoint.rebuilt(description, fresh))
    with torch.no_grad():
        torch.save(model(inputs(name, 3)), folder / "answer.pt")
"""


@cache
def found(name: str) -> tuple[nn.Module, Prunable]:
    model = opened(settled(name))
    return model, prunable(model, tuple(inputs(name, 1).shape[1:]))


@cache
def pruned(name: str, share: float) -> nn.Module:
    """Return the network with that share of random channels in every group."""
    model, known = found(name)
    random = torch.Generator().manual_seed(0)
    kept = {}
    for group, width in known.widths.items():
        order = torch.randperm(width, generator=random)
        kept[group] = sorted(order[: max(1, round(share * width))].tolist())
    return apply(model, known.groups, kept, inputs(name, 2))


@every_network
def test_no_group_became_fixed_in_silence(name: str) -> None:
    figures: Reach = reach(found(name)[1])
    *counts, least = EXPECTED[name]
    assert [figures.groups, figures.heads, figures.head_widths, figures.blocks] == counts
    assert figures.macs_percent > least
    assert figures.fixed == (FIXED.get(name, "head"),)


@every_network
@every_share
def test_it_is_as_small_as_promised_and_trains(name: str, share: float) -> None:
    whole, known = found(name)
    model = pruned(name, share)
    widths = {group: max(1, round(share * width)) for group, width in known.widths.items()}
    assert kernels(model, tuple(inputs(name, 1).shape[1:])) == known.kernels.at(widths)
    assert parameters(model) < (share + 0.05) * parameters(whole)
    model.train()
    model(inputs(name, 4)).square().mean().backward()
    for path, parameter in model.named_parameters():
        assert parameter.grad is not None, path
        assert parameter.grad.shape == parameter.shape
        assert torch.isfinite(parameter.grad).all(), path
    model.zero_grad()
    model.eval()


@every_network
@pytest.mark.parametrize(
    "share", [0.5, *(pytest.param(share, marks=pytest.mark.slow) for share in SHARES if share != 0.5)]
)
def test_its_onnx_file_answers_alike(name: str, share: float, tmp_path: Path) -> None:
    model, x = settled_again(pruned(name, share), name), inputs(name, 3)
    write(model, tmp_path / "m.onnx", tuple(x.shape[1:]), x.dtype)
    session = onnxruntime.InferenceSession(tmp_path / "m.onnx", providers=["CPUExecutionProvider"])
    (answer,) = session.run(None, {"input": x.numpy()})
    with torch.no_grad():
        expected = model(x).numpy()
    assert np.abs(answer - expected).max() <= 1e-4 * max(1.0, np.abs(expected).max())


@pytest.mark.parametrize(
    "name", ["shufflenet", *(pytest.param(name, marks=pytest.mark.slow) for name in NAMES if name != "shufflenet")]
)
def test_what_was_pruned_is_quantized_and_computed_in_integers(name: str, tmp_path: Path) -> None:
    model, samples = settled_again(pruned(name, 0.5), name), inputs(name, 16)
    module = prepare(model, samples[:2], SCHEMES["u8w7"])
    calibrate(module, samples.numpy())
    write(freeze(module), tmp_path / "m.onnx", tuple(samples.shape[1:]), samples.dtype)
    assert max(compare_layers(module, tmp_path / "m.onnx", "onnxruntime", samples.numpy()[:8]).steps.values()) <= 1
    decided = prepared(module)
    backend = BACKENDS.get("onnxruntime")()
    executed = backend.executed(backend.build(tmp_path / "m.onnx", tmp_path))
    integer = [layer for layer in executed if layer.multiplies and layer.precision == "int8"]
    assert len(integer) == sum(decided.operators[one].kind in WEIGHTED for one in decided.plan.integers) >= 5


def settled_again(model: nn.Module, name: str) -> nn.Module:
    """Return the network with BatchNorm statistics of its own, as after a cut."""
    model.train()
    with torch.no_grad():
        for _ in range(4):
            model(inputs(name, 8))
    return model.eval()


def test_all_come_back_in_one_fresh_process_from_data_only(tmp_path: Path) -> None:
    for name in NAMES:
        for share in SHARES:
            model, x = pruned(name, share), inputs(name, 1)
            shape = tuple(x.shape[1:])
            checkpoint.save(model, tmp_path / f"{name}@{share}", ModelSpec(factory="any:thing"), shape, 10, x)
    subprocess.run([sys.executable, "-c", RELOAD, str(tmp_path)], check=True, cwd=ROOT)
    for name in NAMES:
        for share in SHARES:
            with torch.no_grad():
                expected = pruned(name, share)(inputs(name, 3))
            assert torch.equal(torch.load(tmp_path / f"{name}@{share}" / "answer.pt"), expected), (name, share)
