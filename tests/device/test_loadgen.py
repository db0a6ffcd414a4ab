from __future__ import annotations

import sys
from pathlib import Path

import pytest

from edgekd.device.loadgen import loadgen
from tests.measure.tiny_engines import write_inputs, write_onnx


@pytest.fixture
def request_(tmp_path: Path) -> dict:
    engine, inputs = write_onnx(tmp_path / "tiny.onnx", layers=3), write_inputs(tmp_path / "inputs.npy")
    at = {"runtime": "onnxruntime", "engine": str(engine), "inputs": str(inputs), "threads": 1, "batch": 1}
    return {**at, "least_queries": 100, "least_ms": 50}


def test_loadgen_gives_its_percentile_and_calls_it_valid(
    request_: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    before = set(tmp_path.iterdir())
    found = loadgen(request_)
    assert found["valid"], found["invalid_reason"]
    assert 0 < found["p90_ms"] < 50
    assert found["early_stopping_ms"] >= found["p90_ms"]
    assert found["queries"] >= 100
    assert set(tmp_path.iterdir()) == before


def test_without_the_package_the_command_is_named(request_: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mlperf_loadgen", None)
    with pytest.raises(ImportError, match="pip install mlcommons-loadgen"):
        loadgen(request_)
