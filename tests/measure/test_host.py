"""A registered host: written down, found again, and doubted as soon as it is another one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgekd import cache
from edgekd.budget import OperatingPoint
from edgekd.errors import MeasurementError, UsageError
from edgekd.measure import anchor, host, machine
from edgekd.measure.engine import Engine
from edgekd.measure.series import Series, figure
from edgekd.profile import EngineRecord

POINT = OperatingPoint()
QUIET: dict[str, Any] = {"doubts": [], "engine_doubts": {}, "remarks": []}


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEKD_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def anchored(tmp_path: Path) -> Engine:
    return anchor.engine("onnxruntime", tmp_path)


def record(engine: Engine, ms: float, processes: int = 31) -> EngineRecord:
    """Return the record of an anchor whose processes lie within 1 % of `ms`."""
    values = [ms * (0.99 + 0.02 * k / (processes - 1)) for k in range(processes)]
    per_process = {"latency_ms_p50": tuple(values), "look": (1.0,) * processes}
    return engine.record(POINT, per_process, (figure("latency_ms_p50", values, (), "device"),))


def registered(engine: Engine, ms: float = 1.0) -> host.Host:
    return host.register(Series([record(engine, ms)], QUIET), POINT, machine.probe())


def test_what_is_registered_is_found_and_told(anchored: Engine) -> None:
    assert (
        "not; run: edgekd targets register-host --runtime onnxruntime"
        in host.standing(anchored, POINT, machine.probe()).doubt
    )
    written = registered(anchored)
    assert host.load(machine.probe()) == written
    (held,) = written.anchors
    assert len(held.per_process) == 31
    standing = host.standing(anchored, POINT, machine.probe())
    assert standing.doubt == ""
    assert standing.registered is not None
    assert standing.registered.value == pytest.approx(1.0)
    assert standing.registered.lower < 1 < standing.registered.upper
    (entry,) = cache.entries()
    assert entry.kind == "hosts"
    assert not entry.made_here  # --prune leaves it


def test_each_runtime_and_number_of_threads_is_registered_by_itself(anchored: Engine) -> None:
    registered(anchored, 1.0)
    host.register(Series([record(replace(anchored, runtime="openvino"), 2.0)], QUIET), POINT, machine.probe())
    found = registered(anchored, 1.5)
    assert [(a.runtime, round(a.figure.value, 3)) for a in found.anchors] == [("openvino", 2.0), ("onnxruntime", 1.5)]
    assert "for onnxruntime with 4 threads" in host.standing(anchored, OperatingPoint(threads=4), machine.probe()).doubt


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"versions": {"onnxruntime": "9.9", "numpy": "2"}}, "onnxruntime was "),
        ({"isa": ["avx"]}, "isa was "),
        ({"state": {"governor": ["powersave"], "affinity": [0], "quota_cores": None}}, "now it is powersave"),
        ({"state": {"governor": [], "affinity": None, "quota_cores": 0.5}}, "quota_cores was"),
    ],
)
def test_a_host_that_is_another_one_now_says_how(
    anchored: Engine, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], said: str
) -> None:
    registered(anchored)
    now = {**machine.probe(), **changes}
    monkeypatch.setattr(machine, "probe", lambda: now)
    standing = host.standing(anchored, POINT, machine.probe())
    assert standing.registered is None
    assert said in standing.doubt
    assert "run: edgekd targets register-host" in standing.doubt


def test_another_kernel_or_boot_is_the_same_host(anchored: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    registered(anchored)
    now = {**machine.probe(), "kernel": "99.0", "boot": "later"}
    monkeypatch.setattr(machine, "probe", lambda: now)
    assert host.standing(anchored, POINT, machine.probe()).doubt == ""


def test_another_machine_is_not_registered(anchored: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    registered(anchored)
    now = {**machine.probe(), "cpu": "another"}
    monkeypatch.setattr(machine, "probe", lambda: now)
    assert "this one is not" in host.standing(anchored, POINT, machine.probe()).doubt


def test_the_speed_is_a_ratio_with_the_uncertainty_of_both(anchored: Engine) -> None:
    registered(anchored, 1.0)
    then = host.standing(anchored, POINT, machine.probe()).registered
    assert then is not None
    ratio = host.speed(record(anchored, 1.1), then)
    assert ratio.value == pytest.approx(1.1)
    assert ratio.lower < 1.1 * 0.995 < 1.1 * 1.005 < ratio.upper


def test_a_machine_in_doubt_is_not_registered(anchored: Engine) -> None:
    for doubts in ({"doubts": ["throttled by heat"]}, {"engine_doubts": {"anchor": "throttled by heat"}}):
        with pytest.raises(MeasurementError, match="throttled by heat"):
            host.register(Series([record(anchored, 1.0)], {**QUIET, **doubts}), POINT, machine.probe())
    with pytest.raises(MeasurementError, match="too few"):
        host.register(Series([record(anchored, 1.0, processes=3)], QUIET), POINT, machine.probe())
    assert host.load(machine.probe()) is None


def test_a_broken_registration_says_what_to_do(anchored: Engine) -> None:
    registered(anchored)
    host.place(machine.probe()).write_text("{")
    with pytest.raises(UsageError, match="register this host again"):
        host.standing(anchored, POINT, machine.probe())
