from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from edgekd.budget import OperatingPoint
from edgekd.measure import layers, repetition, series
from edgekd.measure.connection import local
from edgekd.measure.engine import Engine
from edgekd.measure.meter import Setup
from tests.measure.tiny_engines import engine, write_inputs, write_onnx, write_openvino


@contextmanager
def _no_lock() -> Iterator[None]:
    yield


@pytest.fixture(autouse=True)
def _own_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (layers, repetition, series):
        monkeypatch.setattr(module, "measurement_lock", _no_lock)  # other tests on this machine must not be waited for


@pytest.fixture
def setup_(tmp_path: Path) -> Iterator[Setup]:
    """Return a setup for the tiny engines."""
    inputs = write_inputs(tmp_path / "inputs.npy")
    with local() as connection:
        yield Setup(inputs, OperatingPoint(), 90, "host", connection, tmp_path / "raw", hang_s=60)


@pytest.fixture
def engines(tmp_path: Path) -> list[Engine]:
    """Return a light and a heavy engine, and the light one in another runtime."""
    light = write_onnx(tmp_path / "light.onnx")
    return [
        engine(light, "light"),
        engine(write_onnx(tmp_path / "heavy.onnx", layers=4, channels=128), "heavy"),
        engine(write_openvino(light, tmp_path / "light"), "light", "openvino"),
    ]
