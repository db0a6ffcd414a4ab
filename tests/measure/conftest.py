from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest

from edgekd.budget import OperatingPoint
from edgekd.connection.connection import Connection, local
from edgekd.measure.engine import Engine
from edgekd.measure.meter import Setup
from tests.measure.tiny_engines import engine, write_inputs, write_onnx, write_openvino


@pytest.fixture(autouse=True)
def _own_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Connection, "locked", lambda *_: nullcontext())  # nobody waits for other tests on this machine


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
