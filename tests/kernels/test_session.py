"""Rounds of probes on a bench that answers by formula: what is drawn, restored, left out and given up."""

from __future__ import annotations

import itertools
from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from edgekd.connection.connection import local
from edgekd.errors import MeasurementError
from edgekd.fuse.fusion import rules
from edgekd.kernels.bench import Bench, Timing, drift
from edgekd.kernels.drawn import drawn
from edgekd.kernels.session import CANDIDATES, Session, paced

RUNTIMES = ["onnxruntime", "openvino"]
SCHEMES = ["fp32", "u8w8"]
ISA = ["avx2"]


class Formula(Bench):
    """A bench on which every engine takes a millisecond, times how slow the machine is at the moment."""

    def __init__(self) -> None:
        self.anchors = defaultdict(list)
        self.slow = 1.0
        self.disturbed = False
        self.timed: list[Path] = []

    def time(self, runtime: str, engine: Path, series_s: float = 0.0) -> Timing:
        del runtime, series_s
        self.timed.append(engine)
        assert engine.exists()
        return Timing(self.slow, 10, 0.01, self.disturbed and "anchor" not in engine.name, ())


def advance(steps: int = 1, note: str = "") -> None:
    del steps, note


@pytest.fixture
def bench() -> Formula:
    return Formula()


def test_every_network_runs_in_every_scheme_on_every_runtime_and_leaves_nothing(bench: Formula, tmp_path: Path) -> None:
    session = Session(bench, SCHEMES, rules(RUNTIMES, ISA), tmp_path)
    session.round(0.2, None, advance)
    found = session.probes()
    assert {(probe.scheme, probe.runtime) for probe in found} == {(s, r) for s in SCHEMES for r in RUNTIMES}
    assert len(found) == 4 * len({probe.name for probe in found})
    assert list(tmp_path.iterdir()) == []
    number = int(found[0].name.rsplit("-", 1)[1])
    expected = drawn(number, SCHEMES, rules(RUNTIMES, ISA)).kernels["fp32", "onnxruntime"]
    assert [timed.kernel for timed in found[0].kernels] == [kernel.anonymous() for kernel in expected]


def test_a_machine_that_slows_down_for_a_while_changes_nothing(bench: Formula, tmp_path: Path) -> None:
    session = Session(bench, ["fp32"], rules(["onnxruntime"], ISA), tmp_path)
    for number in range(20):
        session.again(number)
    bench.slow = 1.5
    bench.anchors["onnxruntime"] = [1.0] * 20 + [1.5] * 5
    session.again(100)
    found = session.probes()
    assert found[-1].pace == pytest.approx(1.5)
    assert [probe.ms for probe in found] == pytest.approx([1.0] * 21)
    assert drift([1.0] * 20 + [1.5] * 5) == pytest.approx(0.5)


def test_what_was_disturbed_is_left_out_and_counted(bench: Formula, tmp_path: Path) -> None:
    bench.disturbed = True
    session = Session(bench, SCHEMES, rules(RUNTIMES, ISA), tmp_path)
    session.again(1)
    assert session.probes() == []
    assert session.discarded == 4


def test_a_runtime_that_refuses_everything_ends_the_session(
    bench: Formula, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*given: Any) -> Timing:
        raise MeasurementError("no")

    session = Session(bench, ["fp32"], rules(["onnxruntime"], ISA), tmp_path)
    session.again(1)
    monkeypatch.setattr(session, "_time", refuse)
    for number in range(3):
        session.again(number)
    assert len(session.refused) == 3
    with pytest.raises(MeasurementError, match="no"):
        session.again(9)


def test_the_least_known_of_some_candidates_comes_every_other_time(
    bench: Formula, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A clock that counts how often it is read, twice a network, so that four are measured however busy the machine is.
    clock = SimpleNamespace(monotonic=itertools.count().__next__)
    monkeypatch.setattr("edgekd.kernels.session.time", clock)
    session = Session(bench, ["fp32"], rules(["onnxruntime"], ISA), tmp_path)
    asked: list[str] = []

    def unsure(network: Any) -> float:
        asked.append(network.name)
        return float(network.name.rsplit("-", 1)[1])

    session.round(6, unsure, advance)
    names = list(dict.fromkeys(probe.name for probe in session.probes()))
    assert len(names) == 4
    assert len(asked) >= CANDIDATES
    assert max(asked[:CANDIDATES], key=lambda name: int(name.rsplit("-", 1)[1])) in names


def test_restoring_the_pace_keeps_the_shares(bench: Formula, tmp_path: Path) -> None:
    session = Session(bench, ["fp32"], rules(["onnxruntime"], ISA), tmp_path)
    session.again(1)
    (raw,) = session.raw()
    assert paced(raw, 0.5).ms == pytest.approx(raw.ms / 2)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_real_bench_tells_times_that_belong_together(runtime: str, tmp_path: Path) -> None:
    network = drawn(3, ["fp32"], rules([runtime], ISA))
    with local() as connection, Bench(connection) as real, network.built(tmp_path) as engines:
        found = real.time(runtime, engines["fp32", runtime], series_s=0.02)
        real.pace(runtime)
    told = sum(row["ms"] for row in found.rows)
    assert 0.2 * found.ms < told < 3 * found.ms
    assert real.pace_now(runtime) > 0


def test_after_a_process_has_died_the_next_engine_gets_a_fresh_one(tmp_path: Path) -> None:
    network = drawn(3, ["fp32"], rules(["onnxruntime"], ISA))
    with local() as connection, Bench(connection) as real, network.built(tmp_path) as engines:
        engine = engines["fp32", "onnxruntime"]
        real.time("onnxruntime", engine, series_s=0.01)
        real._children["onnxruntime"].kill()
        with pytest.raises(MeasurementError, match="ended"):
            real.time("onnxruntime", engine, series_s=0.01)
        assert real.time("onnxruntime", engine, series_s=0.01).ms > 0
