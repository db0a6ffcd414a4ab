"""Calibration on both adapters: a module and the file it was exported to are quantized alike."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from edgekd.errors import EdgekdError, UsageError
from edgekd.export.onnx_file import write
from edgekd.placement.place import place
from edgekd.placement.scheme import SCHEMES
from edgekd.quantize.calibration import CalibrationConfig, Integers, calibrated
from edgekd.quantize.onnx_network import OnnxNetwork
from edgekd.quantize.prepare import prepare
from edgekd.quantize.torch_network import TorchNetwork
from tests.models import INPUT_SHAPE, TINY, settled

S = SCHEMES["u8w7"]
PLAIN = CalibrationConfig(observer="minmax", rounding="nearest", bias_correction=False)


def images(count: int = 48) -> np.ndarray:
    return (torch.randn(count, *INPUT_SHAPE, generator=torch.Generator().manual_seed(1)) * 0.7 + 0.2).numpy()


def of_file(name: str, folder: Path) -> OnnxNetwork:
    write(settled(name), folder / "model.onnx", INPUT_SHAPE)
    return OnnxNetwork.read(folder / "model.onnx", images(1))


def of_module(name: str) -> TorchNetwork:
    return TorchNetwork(prepare(settled(name), torch.from_numpy(images(2)), S))


def steps(integers: Integers) -> list[float]:
    return sorted(stored.step for stored in integers.tensors.values())


@pytest.mark.parametrize("name", TINY)
def test_a_module_and_its_file_get_the_same_integers(name: str, tmp_path: Path) -> None:
    module, file = of_module(name), of_file(name, tmp_path)
    plan = place(file.operators, S)
    first = calibrated(module, images(), module.plan, S, PLAIN)
    second = calibrated(file, images(), plan, S, PLAIN)
    assert steps(first) == pytest.approx(steps(second), rel=1e-3)
    assert [s.signedness for s in first.tensors.values()] == [s.signedness for s in second.tensors.values()]
    for one, other in zip(first.weights.values(), second.weights.values(), strict=True):
        assert one.integers.shape == other.integers.shape
        assert (one.integers != other.integers).mean() < 0.01
        assert one.steps == pytest.approx(other.steps, rel=1e-3)


@pytest.mark.parametrize("name", TINY)
def test_what_is_set_is_what_the_module_computes_with(name: str) -> None:
    network = of_module(name)
    integers = calibrated(network, images(), network.plan, S, CalibrationConfig())
    network.set(integers)
    found = TorchNetwork(network.module).integers()
    for layer, weight in integers.weights.items():
        assert (found.weights[layer].integers == weight.integers).all()
        assert found.weights[layer].steps == pytest.approx(weight.steps)
    for tensor, stored in integers.tensors.items():
        assert found.tensors[tensor].zero_point == stored.zero_point
        assert found.tensors[tensor].step == pytest.approx(stored.step)


@pytest.mark.parametrize("name", TINY)
def test_corrected_biases_take_the_mean_error_away_and_clever_rounding_the_rest(name: str, tmp_path: Path) -> None:
    network = of_file(name, tmp_path)
    plan, samples = place(network.operators, S), images(64)
    (expected,) = run(network, None, samples)
    mean, spread = {}, {}
    for key, config in {
        "plain": PLAIN,
        "corrected": CalibrationConfig(rounding="nearest"),
        "both": CalibrationConfig(),
    }.items():
        (found,) = run(network, calibrated(network, samples, plan, S, config), samples)
        mean[key] = np.abs((found - expected).mean(0)).max()
        spread[key] = np.abs(found - expected).mean()
    assert mean["corrected"] < 0.7 * mean["plain"]
    assert spread["both"] < spread["plain"]


def run(network: OnnxNetwork, integers: Integers | None, samples: np.ndarray) -> list[np.ndarray]:
    from edgekd.quantize.onnx_reading import Running

    plan = place(network.operators, S)
    return Running(network.written(plan, integers), list(network.graph.outputs)).run(samples)


def test_without_samples_or_tensors_there_is_nothing_to_calibrate(tmp_path: Path) -> None:
    network = of_file("mlp", tmp_path)
    with pytest.raises(UsageError, match="2 tensors with 0 samples"):
        calibrated(network, images(0), place(network.operators, S), S, PLAIN)
    with pytest.raises(UsageError, match="0 tensors"):
        calibrated(network, images(), place(network.operators, S, kinds=()), S, PLAIN)


def test_only_a_prepared_module_can_be_watched() -> None:
    with pytest.raises(EdgekdError, match="only what prepare returned"):
        TorchNetwork(settled("mlp"))
