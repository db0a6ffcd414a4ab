from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from edgekd.device.layers import layers
from tests.measure.tiny_engines import write_inputs, write_onnx, write_openvino


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_the_heavy_convolutions_take_the_time(runtime: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "temporary"
    place.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    monkeypatch.chdir(tmp_path)
    source = write_onnx(tmp_path / "net.onnx", layers=3, channels=128)
    engine = source if runtime == "onnxruntime" else write_openvino(source, tmp_path / "net")
    inputs = write_inputs(tmp_path / "inputs.npy")
    before = set(tmp_path.iterdir())
    at = {"runtime": runtime, "engine": str(engine), "inputs": str(inputs), "threads": 1, "batch": 1}
    found = layers({**at, "runs": 20, "most_s": 0.1})
    rows = found["rows"]
    assert set(rows[0]) == {"name", "op", "executed_as", "ms", "share"}
    assert sum(row["share"] for row in rows) == pytest.approx(1)
    assert sum(row["share"] for row in rows if "conv" in row["op"].lower()) > 0.5
    assert sum(row["ms"] for row in rows) <= found["call_ms"] * 1.1
    assert found["runs"] >= 20
    assert list(place.iterdir()) == []
    assert set(tmp_path.iterdir()) == before
