"""The contract suite of meters: runs over every file in edgekd/measure/meters."""

from __future__ import annotations

import json
from fnmatch import fnmatch
from pathlib import Path

import pytest

from edgekd.errors import MeasurementError, UsageError
from edgekd.measure.engine import Engine
from edgekd.measure.meter import METERS, Meter, Setup, create
from tests.measure.tiny_engines import engine

_QUICK = {"processes": 2, "window_s": 0.02, "idle_s": 0.02, "least_s": 0.02, "least_queries": 64, "blocks": 2}


def _quick(name: str) -> Meter:
    known = METERS.get(name).Config.model_fields
    return create(name, {key: value for key, value in _QUICK.items() if key in known})


@pytest.mark.parametrize("name", METERS.names())
def test_figures_are_those_promised_and_stand_in_raw_lines(name: str, engines: list[Engine], setup_: Setup) -> None:
    meter = _quick(name)
    reading = meter.measure([engines[0], engines[2]], setup_)
    assert list(reading.figures) == ["light/fp32/onnxruntime", "light/fp32/openvino"]
    for figures in reading.figures.values():
        assert all(any(fnmatch(figure.name, name) for name in meter.produces) for figure in figures)
        assert len({figure.name for figure in figures}) == len(figures)
        for figure in figures:
            assert figure.origin in {"host", "counted"}
            assert figure.lower is None or figure.lower <= figure.value <= figure.upper
    assert all(figures for figures in reading.figures.values()) or reading.remarks, "nothing measured and nothing said"
    assert reading.doubts.keys() <= reading.figures.keys()

    lines = [json.loads(line) for line in (setup_.raw / f"{meter.name}.jsonl").read_text().splitlines()]
    processes = [line for line in lines if "engine" in line]
    assert {line["engine"] for line in processes} >= reading.figures.keys()
    if meter.name != "latency":  # its log is that of a series
        assert {line["kind"] for line in lines} == {meter.name}
        numbers = [line["process"] for line in processes if line["engine"] == "light/fp32/openvino"]
        assert numbers == list(range(len(numbers)))


@pytest.mark.parametrize("name", METERS.names())
def test_its_name_is_its_key(name: str) -> None:
    assert METERS.get(name).name == name


@pytest.mark.parametrize("name", [name for name in METERS.names() if name not in {"energy", "size", "one-more"}])
def test_an_engine_that_cannot_be_opened_is_named(name: str, setup_: Setup, tmp_path: Path) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"no network")
    with pytest.raises(MeasurementError, match="broken/fp32/onnxruntime"):
        _quick(name).measure([engine(broken, "broken")], setup_)


def test_unknown_meters_and_options_are_refused() -> None:
    with pytest.raises(UsageError, match="did you mean 'latency'"):
        create("latancy")
    with pytest.raises(UsageError, match="unknown key 'process'"):
        create("memory", {"process": 3})
