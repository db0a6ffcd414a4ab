from __future__ import annotations

from pathlib import Path

import pytest

from edgekd.budget import OperatingPoint
from edgekd.measure.connection import local
from edgekd.measure.memory import peak_memory
from tests.measure.tiny_engines import engine, write_inputs, write_onnx


@pytest.fixture
def measured(tmp_path: Path) -> dict:
    engines = [
        engine(write_onnx(tmp_path / "small.onnx"), "small"),
        engine(write_onnx(tmp_path / "large.onnx", layers=4, channels=512), "large"),  # 28 MB of weights
    ]
    inputs = write_inputs(tmp_path / "inputs.npy")
    with local() as connection:
        return peak_memory(engines, inputs, OperatingPoint(), processes=2, origin="device", connection=connection)


def test_weights_show_in_the_peak_and_the_runtime_does_not(measured: dict) -> None:
    small, large = (measured[f"{name}/fp32/onnxruntime"][0] for name in ("small", "large"))
    assert small.name == large.name == "peak_memory_mb"
    assert large.value > small.value + 25
    assert small.value < 40  # the empty process with the same runtime is 45 MB and more
    assert large.lower <= large.value <= large.upper
    assert large.samples == 2


def test_steady_state_needs_no_more_than_the_peak(measured: dict) -> None:
    peak, steady = measured["large/fp32/onnxruntime"]
    assert steady.name == "steady_memory_mb"
    assert 20 < steady.value <= peak.value + 1
