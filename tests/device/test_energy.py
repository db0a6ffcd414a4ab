from __future__ import annotations

from pathlib import Path

import pytest

from edgekd.device import energy as verb
from edgekd.device.counters import Counter
from tests.measure.tiny_engines import write_inputs, write_onnx


class _Meter(Counter):
    """Two watts while idle, twelve while somebody runs."""

    name = "made up"
    closed = False

    def __init__(self, clock: list[float], runs: list[int]) -> None:
        self._clock, self._runs = clock, runs

    def joules(self) -> float:
        return 2 * self._clock[0] + 10 * 0.01 * len(self._runs)

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def request_(tmp_path: Path) -> dict:
    engine, inputs = write_onnx(tmp_path / "tiny.onnx"), write_inputs(tmp_path / "inputs.npy")
    at = {"runtime": "onnxruntime", "engine": str(engine), "inputs": str(inputs), "threads": 1, "batch": 1}
    return {**at, "window_s": 1.0, "idle_s": 0.5, "root": str(tmp_path)}


def test_idle_power_is_subtracted_and_the_gross_is_given(request_: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    clock, runs = [0.0], []

    def run(self: object) -> int:
        clock[0] += 0.01
        runs.append(0)
        return 10_000_000

    def sleep(seconds: float) -> None:
        clock[0] += seconds

    meter = _Meter(clock, runs)
    monkeypatch.setattr(verb, "counters", lambda runtime, root: ([meter], {}))
    monkeypatch.setattr(verb, "settle", lambda *_: None)
    monkeypatch.setattr(verb.Stream, "run", run)
    monkeypatch.setattr(verb.time, "sleep", sleep)
    monkeypatch.setattr(verb.time, "perf_counter", lambda: clock[0])
    found = verb.energy(request_)
    assert found["idle_w"] == pytest.approx(2)
    assert found["gross_mj"] == pytest.approx(120)
    assert found["net_mj"] == pytest.approx(100)
    assert found["runs"] in {100, 101}
    assert meter.closed


def test_without_a_counter_nothing_is_opened_and_every_source_is_named(request_: dict) -> None:
    found = verb.energy({**request_, "engine": "absent.onnx"})
    assert found["sources"] == []
    assert set(found["missing"]) == {"rapl", "ina3221", "nvml"}
