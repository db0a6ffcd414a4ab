"""Placements that are tried: what each changes, and that the rules' gives way to a faster one beyond doubt alone."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest

from edgekd import target as targets
from edgekd.errors import UsageError
from edgekd.export.onnx_file import write
from edgekd.measure import machine
from edgekd.placement.place import Placement
from edgekd.placement.scheme import SCHEMES
from edgekd.quantize import trial
from edgekd.quantize.onnx_network import OnnxNetwork
from edgekd.quantize.placements import RULES, placements, together
from edgekd.stage import Progress
from tests import architectures
from tests.gate.series_of import Measured, around
from tests.models import INPUT_SHAPE, settled

AVX2 = targets.load("x86-avx2")


@pytest.fixture(scope="module")
def gated(tmp_path_factory: pytest.TempPathFactory) -> tuple[OnnxNetwork, dict[str, Placement]]:
    path = tmp_path_factory.mktemp("gated") / "model.onnx"
    write(architectures.settled("mobilenetv3"), path, architectures.IMAGE)
    network = OnnxNetwork.read(path, architectures.inputs("mobilenetv3", 1).numpy())
    return network, placements(network, AVX2, SCHEMES["u8w7"], ())


def kinds(network: OnnxNetwork, plan: Placement) -> set[str]:
    return {network.operators[name].kind for name in plan.integers}


def test_each_differs_from_the_rules_in_what_it_is_called_by(gated: tuple[OnnxNetwork, dict[str, Placement]]) -> None:
    network, plans = gated
    assert next(iter(plans)) == RULES
    assert "mul" in kinds(network, plans["with mul in integers"])
    assert kinds(network, plans["layers alone in integers"]) == {"conv", "linear"}
    assert len(plans["layers alone in integers"].weights) == len(plans[RULES].weights)
    assert "with matmul in integers" not in plans  # it has no product of activations
    assert "layers below 7 MMACs in float" not in plans  # all are; then nothing is left to quantize
    assert len(set(map(repr, plans.values()))) == len(plans)


def test_small_layers_are_those_of_little_work(tmp_path: Path) -> None:
    write(settled("residual"), tmp_path / "model.onnx", (1, 96, 96))
    network = OnnxNetwork.read(tmp_path / "model.onnx", np.zeros((1, 1, 96, 96), np.float32))
    plans = placements(network, AVX2, SCHEMES["u8w7"], ())
    left = {network.layers[name].label for name in plans["layers below 7 MMACs in float"].weights}
    # 16 to 16 channels at 96 x 96 and 16 to 32 at 48 x 48 take 21 and 11 million; stem, shortcut and head take less.
    assert left == {"first_norm/batch_norm_1", "second_norm/batch_norm_2"}


def test_what_is_calibrated_at_once_is_what_any_of_them_needs(gated: tuple[OnnxNetwork, dict[str, Placement]]) -> None:
    _, plans = gated
    everything = together(plans.values())
    stored = {tensor.operator for tensor in everything.tensors}
    for plan in plans.values():
        assert {tensor.operator for tensor in plan.tensors} <= stored
        assert set(plan.weights) <= set(everything.weights)


@pytest.mark.parametrize(("ms", "best"), [((1.0, 0.8, 0.7), "third"), ((1.0, 1.0, 1.2), "first")])
def test_another_placement_is_chosen_where_it_is_faster_beyond_doubt(
    ms: tuple[float, ...], best: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    files = {}
    for name in ("first", "second", "third"):
        files[name] = tmp_path / f"{name}.onnx"
        write(settled("mlp"), files[name], INPUT_SHAPE)
    np.savez(tmp_path / "data.npz", inputs=np.zeros((4, *INPUT_SHAPE), np.float32))
    monkeypatch.setattr(trial, "measure", Measured(dict(zip(files, map(around, ms), strict=True))))
    here = targets.load(machine.host_target())
    tryout = trial.Tryout(here, tmp_path / "data.npz", 60, tmp_path / "raw", Progress())
    assert tryout(files) == best
    assert tryout.ratios["second"].value == pytest.approx(ms[1], rel=0.05)


def test_placements_of_another_target_cannot_be_tried_here(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="placements of raspberry-pi-4 can be tried on one alone"):
        trial.Tryout(targets.load("raspberry-pi-4"), tmp_path, 60, tmp_path, Progress())
