from __future__ import annotations

import time
from pathlib import Path

import pytest

from edgekd.device.time import Timer, waited_ns
from tests.measure.tiny_engines import write_inputs, write_onnx


@pytest.fixture
def opened(tmp_path: Path) -> Timer:
    """A timer with a tiny engine at batch 2; the fifth of its samples fills no batch."""
    inputs = write_inputs(tmp_path / "inputs.npy", 5)
    at = {"runtime": "onnxruntime", "engine": str(write_onnx(tmp_path / "tiny.onnx")), "inputs": str(inputs)}
    timer = Timer()
    timer.step({"step": "open", **at, "threads": 1, "batch": 2})
    return timer


def test_blocks_rotate_through_the_inputs(opened: Timer) -> None:
    assert opened._stream.count == 2
    opened.step({"step": "block", "runs": 2, "skip": 1})
    assert opened._stream._next == 1


def test_the_plain_call_rotates_as_well_and_is_another_call(opened: Timer, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(arrays: list) -> list:
        raise AssertionError(arrays)

    monkeypatch.setattr(opened._stream.session, "run", refuse)
    block = opened.step({"step": "block", "runs": 2, "skip": 1, "call": "plain"})
    assert len(block["ms"]) == 2
    with pytest.raises(AssertionError):
        opened.step({"step": "block", "runs": 1, "skip": 0})


def test_an_unknown_call_or_step_is_named(opened: Timer) -> None:
    with pytest.raises(ValueError, match="'async'; known: bound, plain"):
        opened.step({"step": "block", "runs": 1, "skip": 0, "call": "async"})
    with pytest.raises(ValueError, match="known: open, warm, block"):
        opened.step({"step": "sleep"})


def test_a_jump_of_the_wall_clock_is_told_and_spoils_no_duration(
    opened: Timer, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = time.time, []

    def jumping() -> float:
        calls.append(0)
        return real() + (3600 if len(calls) > 2 else 0)

    monkeypatch.setattr("edgekd.device.time.time.time", jumping)
    block = opened.step({"step": "block", "runs": 3, "skip": 0})
    assert block["changed"] == ["the wall clock jumped by +3600.0 s"]
    assert 0 < max(block["ms"]) < 60_000


def test_waiting_is_counted_upwards() -> None:
    first, second = waited_ns(), waited_ns()
    assert first is not None
    assert second is not None
    assert second >= first
