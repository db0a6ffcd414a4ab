from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from edgekd.device.operators import operators
from tests.measure.tiny_engines import write_onnx, write_openvino


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_an_engine_is_timed_with_and_without_counting(
    runtime: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "temporary"
    place.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    source = write_onnx(tmp_path / "net.onnx", layers=3, channels=128)
    engine = source if runtime == "onnxruntime" else write_openvino(source, tmp_path / "net")
    found = operators({"runtime": runtime, "engine": str(engine), "threads": 1, "series_s": 0.02})
    assert set(found) == {"ms", "scatter", "rows", "call_ms", "runs"}
    assert min(found["ms"]) > 0
    assert found["runs"] >= 10
    told = sum(row["ms"] for row in found["rows"])
    assert 0.3 * min(found["ms"]) < told < 3 * max(found["ms"])
    assert sum(row["share"] for row in found["rows"] if "conv" in row["op"].lower()) > 0.5
    assert list(place.iterdir()) == []
