from __future__ import annotations

import json
from pathlib import Path
from statistics import median

import pytest

from edgekd.figure import Figure
from edgekd.measure.meter import Setup, create
from edgekd.measure.meters import memory
from tests.measure.tiny_engines import engine, write_onnx


@pytest.fixture
def measured(tmp_path: Path, setup_: Setup) -> dict[str, dict[str, Figure]]:
    engines = [
        engine(write_onnx(tmp_path / "small.onnx"), "small"),
        engine(write_onnx(tmp_path / "large.onnx", layers=4, channels=512), "large"),  # 28 MB of weights
    ]
    reading = create("memory", {"processes": 2}).measure(engines, setup_)
    assert reading.remarks == ()
    return {key.partition("/")[0]: {f.name: f for f in figures} for key, figures in reading.figures.items()}


def test_weights_show_in_the_peak_and_the_runtime_does_not(measured: dict, setup_: Setup) -> None:
    small, large = (measured[name]["peak_memory_mb"] for name in ("small", "large"))
    assert large.value > small.value + 25
    assert small.value < 40  # the empty process with the same runtime is 45 MB and more
    assert large.lower <= large.value <= large.upper
    assert large.samples == 2
    assert 20 < measured["large"]["steady_memory_mb"].value <= large.value + 1
    assert measured["large"]["load_memory_mb"].value <= large.value
    lines = [json.loads(line) for line in (setup_.raw / "memory.jsonl").read_text().splitlines()]
    full, empty = (
        median(line["peak_mb"] for line in lines if line["engine"] == key)
        for key in ("large/fp32/onnxruntime", "empty/onnxruntime")
    )
    assert large.value == pytest.approx(full - empty)


def test_growth_run_by_run_is_a_remark_and_a_doubt(
    setup_: Setup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def leaking(meter: object, requests: dict, *_: object, **__: object) -> dict:
        sizes = {"peak_mb": 60.0, "load_peak_mb": 50.0, "steady_peak_mb": None, "growth_kb_per_run": 12.0}
        return {key: [sizes] for key in requests}

    monkeypatch.setattr(memory, "repeat", leaking)
    reading = create("memory").measure([engine(write_onnx(tmp_path / "tiny.onnx"), "tiny")], setup_)
    assert reading.doubts == {"tiny/fp32/onnxruntime": "memory grows by 12 MB per 1000 runs: a leak?"}
    assert reading.remarks == ("tiny/fp32/onnxruntime: memory grows by 12 MB per 1000 runs: a leak?",)
    assert [figure.name for figure in reading.figures["tiny/fp32/onnxruntime"]] == ["peak_memory_mb", "load_memory_mb"]
