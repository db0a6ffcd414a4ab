from __future__ import annotations

from pathlib import Path

import pytest

from edgekd.device.time import Timer, waited_ns
from tests.measure.tiny_engines import write_inputs, write_onnx


class _Clock:
    """A session whose processor time falls to a floor, one cost a run."""

    def __init__(self, costs: list[int]) -> None:
        self.costs = costs
        self.now = 0
        self.runs = 0

    def run(self, arrays: list) -> list:
        self.now += self.costs[min(self.runs, len(self.costs) - 1)]
        self.runs += 1
        return []


def _timer(clock: _Clock, monkeypatch: pytest.MonkeyPatch) -> Timer:
    monkeypatch.setattr("edgekd.device.time.time.process_time_ns", lambda: clock.now)
    timer = Timer()
    timer._session, timer._inputs = clock, [None]  # type: ignore[assignment, list-item]
    return timer


def test_warm_up_ends_when_there_is_no_trend(monkeypatch: pytest.MonkeyPatch) -> None:
    falling = [int(2_000_000 * (1 + 5 * 0.97**run)) for run in range(200)]
    clock = _Clock(falling)
    answer = _timer(clock, monkeypatch).step({"step": "warm", "least_s": 0, "most_s": 60})
    assert answer["settled"]
    assert clock.runs > 100  # at run 100 the cost is still a quarter above the floor
    quick = _Clock([2_000_000])
    assert _timer(quick, monkeypatch).step({"step": "warm", "least_s": 0, "most_s": 60})["windows"] == 3


def test_warm_up_that_never_settles_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = _Clock([2_000_000 if run // 10 % 2 else 1_000_000 for run in range(1_000_000)])
    answer = _timer(clock, monkeypatch).step({"step": "warm", "least_s": 0, "most_s": 0.05})
    assert not answer["settled"]


def test_blocks_rotate_through_the_inputs(tmp_path: Path) -> None:
    timer = Timer()
    inputs = write_inputs(tmp_path / "inputs.npy", 5)
    at = {"runtime": "onnxruntime", "engine": str(write_onnx(tmp_path / "tiny.onnx")), "inputs": str(inputs)}
    timer.step({"step": "open", **at, "threads": 1, "batch": 2})
    assert len(timer._inputs) == 2  # the fifth sample fills no batch
    timer.step({"step": "block", "runs": 2, "skip": 1})
    assert timer._next == 1


def test_waiting_is_counted_upwards() -> None:
    first, second = waited_ns(), waited_ns()
    assert first is not None
    assert second is not None
    assert second >= first
