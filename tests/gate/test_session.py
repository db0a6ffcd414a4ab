"""A gate from the path to the report; only the clock is made up."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from edgekd.budget import Budget
from edgekd.connection import connection
from edgekd.errors import EdgekdError, ExportError, MeasurementError, ResourceError, UsageError
from edgekd.figure import Figure
from edgekd.gate import attempt, looks, session
from edgekd.gate.report import GateReport
from edgekd.gate.session import gate
from edgekd.measure import host
from edgekd.measure.engine import Engine
from edgekd.measure.meter import Reading
from edgekd.measure.statistics import Bounds
from tests import bundles
from tests.gate.broken_engines import write_node
from tests.gate.series_of import Measured, around
from tests.measure.tiny_engines import CLASSES, SHAPE, write_onnx


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    here = tmp_path_factory.mktemp("gate")
    write_onnx(here / "new.onnx", seed=1)
    write_onnx(here / "old.onnx", seed=2)
    random = np.random.default_rng(0)
    inputs = random.standard_normal((40, *SHAPE)).astype(np.float32)
    np.savez(here / "data.npz", inputs=inputs, labels=random.integers(0, CLASSES, 40))
    return here


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEKD_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> Iterator[Measured]:
    found = Measured({"new": around(0.9), "old": around(1.0), "anchor-1": around(0.5, 0.0)})
    monkeypatch.setattr(looks, "measure", found)
    return found


def _gate(folder: Path, budget: Budget, baseline: bool = True, engine: str = "new.onnx", **options) -> GateReport:
    return gate(str(folder / engine), budget, str(folder / "old.onnx") if baseline else None, **options)


def _registered(monkeypatch: pytest.MonkeyPatch, ms: float = 0.5) -> None:
    standing = host.Standing(Bounds(ms, ms * 0.999, ms * 1.001, 0.99), per_process=(ms,) * 31)
    monkeypatch.setattr(host, "standing", lambda *_: standing)


def test_a_ratio_to_a_baseline_counts_anywhere(folder: Path, measured: Measured) -> None:
    report = _gate(folder, Budget(latency_ratio=1.0, size_mb=1))
    assert (report.verdict.status, report.exit_code) == ("met", 0)
    assert "of old/given/onnxruntime" in report.verdict.line()
    assert report.baseline is not None
    assert report.anchor is not None
    assert report.inputs == "random (none were given)"
    assert report.processes == 11
    assert report.subject.path.endswith("new.onnx")
    assert report.subject.figure("size_mb").value > 0
    assert measured.looks == [11]
    assert GateReport.model_validate_json(json.dumps(report.plain())) == report


def test_a_limit_between_the_bounds_is_looked_at_again_until_the_time_is_over(folder: Path, measured: Measured) -> None:
    report = _gate(folder, Budget(latency_ratio=0.9), time_limit_s=40)
    assert report.verdict.status == "not trustworthy"
    assert report.processes == measured.looks[0] > 44
    assert "more processes would settle it" in report.verdict.line()
    assert "half" not in report.verdict.line()


def test_milliseconds_need_a_registered_host_and_get_only_one_look(folder: Path, measured: Measured) -> None:
    report = _gate(folder, Budget(latency_ms=0.9), baseline=False)
    assert report.exit_code == 5
    assert "edgekd targets register-host" in report.verdict.line()
    assert measured.looks == [11]
    assert report.subject.figure("latency_ms_p90").value == pytest.approx(0.9, rel=0.05)


@pytest.mark.parametrize(
    ("registered_ms", "limit", "status"),
    [(0.5, 1.0, "met"), (0.5, 0.8, "missed"), (0.4, 0.8, "not trustworthy"), (0.6, 1.0, "not trustworthy")],
)
def test_on_a_registered_host_milliseconds_count_as_far_as_the_anchor_agrees(
    folder: Path,
    measured: Measured,
    monkeypatch: pytest.MonkeyPatch,
    registered_ms: float,
    limit: float,
    status: str,
) -> None:
    _registered(monkeypatch, registered_ms)
    report = _gate(folder, Budget(latency_ms=limit), baseline=False)
    assert report.verdict.status == status
    assert report.anchor.figure("anchor_ratio").value == pytest.approx(0.5 / registered_ms)
    lines = [json.loads(line) for line in Path("edgekd-gate/host.jsonl").read_text().splitlines()]
    assert lines[0] == {"kind": "look", "processes": 31}
    assert np.median([line["latency_ms_p50"] for line in lines[1:]]) == pytest.approx(registered_ms)


def test_on_a_busy_machine_milliseconds_are_never_missed(
    folder: Path, measured: Measured, monkeypatch: pytest.MonkeyPatch
) -> None:
    _registered(monkeypatch)
    measured.machine["before"] = {"pid": 1, "total_s": 0.0, "busy_s": 0.0, "own_s": 0.0}
    measured.machine["after"] = {"pid": 1, "total_s": 20.0, "busy_s": 15.0, "own_s": 8.0}
    missed = _gate(folder, Budget(latency_ms=0.5), baseline=False)
    assert missed.exit_code == 5
    assert "other programs took 35%" in missed.verdict.line()
    assert _gate(folder, Budget(latency_ms=1.0), baseline=False).exit_code == 0
    assert _gate(folder, Budget(latency_ratio=0.5)).exit_code == 3  # the baseline was as busy


def test_an_anchor_that_was_disturbed_is_a_doubt(
    folder: Path, measured: Measured, monkeypatch: pytest.MonkeyPatch
) -> None:
    _registered(monkeypatch)
    measured.machine["engine_doubts"] = {"anchor-1/fp32/onnxruntime": "restless"}
    assert _gate(folder, Budget(latency_ms=1.0), baseline=False).exit_code == 5
    assert _gate(folder, Budget(latency_ratio=1.0)).exit_code == 0


def test_doubt_fails_is_retried_or_is_neutral(folder: Path, measured: Measured) -> None:
    measured.machine["doubts"] = ["the processor was throttled by heat meanwhile"]
    budget = Budget(latency_ratio=1.0)
    failed = _gate(folder, budget)
    assert (failed.exit_code, failed.attempts) == (5, 1)
    neutral = _gate(folder, budget, on_untrusted="neutral")
    assert (neutral.exit_code, neutral.verdict.exit_code, neutral.verdict.status) == (0, 5, "not trustworthy")
    measured.raws.clear()
    measured.looks.clear()
    retried = _gate(folder, budget, on_untrusted="retry")
    assert (retried.exit_code, retried.attempts) == (5, 3)
    assert len(measured.raws) == 3
    assert all(str(raw) in retried.raw for raw in measured.raws)


def test_a_retry_ends_with_the_first_verdict(folder: Path, measured: Measured, monkeypatch: pytest.MonkeyPatch) -> None:
    def quiet_after_the_first(*arguments, **options):
        found = measured(*arguments, **options)
        measured.machine = {**measured.machine, "doubts": []}
        return found

    measured.machine["doubts"] = ["throttled"]
    monkeypatch.setattr(looks, "measure", quiet_after_the_first)
    report = _gate(folder, Budget(latency_ratio=1.0), on_untrusted="retry")
    assert (report.exit_code, report.attempts) == (0, 2)


def test_accuracy_and_calibration_are_those_of_the_engine(folder: Path, measured: Measured) -> None:
    budget = Budget(latency_ratio=1.0, accuracy_drop=100, accuracy_percent=99.5, ece=1)
    report = _gate(folder, budget, data=folder / "data.npz")
    assert report.exit_code == 4
    states = {check.limit_name: check.status for check in report.verdict.checks}
    assert states == {"latency_ratio": "met", "accuracy_drop": "met", "accuracy_percent": "missed", "ece": "met"}
    assert report.inputs.endswith("data.npz, 40 samples")
    lines = [json.loads(line) for line in Path("edgekd-gate/answers.jsonl").read_text().splitlines()]
    assert [line["engine"] for line in lines] == ["new/given/onnxruntime", "old/given/onnxruntime"]
    correct = [np.array(line["correct"]) for line in lines]
    assert report.subject.figure("accuracy_percent").value == pytest.approx(100 * correct[0].mean())
    drop = 100 * (correct[1].mean() - correct[0].mean())
    assert report.subject.figure("accuracy_drop").value == pytest.approx(drop)


def test_answers_that_are_no_numbers(folder: Path, measured: Measured) -> None:
    measured.told["not_finite"] = ("new/given/onnxruntime",)
    report = _gate(folder, Budget(latency_ratio=1.0))
    assert report.exit_code == 0
    assert any("not finite" in remark for remark in report.remarks)
    with pytest.raises(ExportError, match="not finite"):
        _gate(folder, Budget(latency_ratio=1.0), data=folder / "data.npz")


class _Meter:
    def __init__(self, reading: Reading) -> None:
        self.reading = reading

    def measure(self, engines: list[Engine], setup) -> Reading:
        return self.reading


def _meters(monkeypatch: pytest.MonkeyPatch, **readings: Reading) -> None:
    nothing = Reading({"new/given/onnxruntime": (), "old/given/onnxruntime": ()})
    monkeypatch.setattr(attempt, "create", lambda name, options=None: _Meter(readings.get(name, nothing)))


def test_memory_that_grows_is_a_doubt_only_where_memory_is_limited(
    folder: Path, measured: Measured, monkeypatch: pytest.MonkeyPatch
) -> None:
    figure = Figure(name="peak_memory_mb", value=5, origin="device", lower=4.9, upper=5.1)
    leak = "memory grows by 12 MB per 1000 runs: a leak?"
    key = "new/given/onnxruntime"
    _meters(monkeypatch, memory=Reading({key: (figure,)}, (f"{key}: {leak}",), {key: leak}))
    limited = _gate(folder, Budget(latency_ratio=1.0, peak_memory_mb=10))
    assert limited.exit_code == 5
    assert leak in limited.verdict.line()
    asked = _gate(folder, Budget(latency_ratio=1.0), also=["memory"])
    assert asked.exit_code == 0
    assert any(leak in remark for remark in asked.remarks)
    assert asked.subject.figure("peak_memory_mb").value == 5


def test_energy_that_nobody_counts_is_no_verdict(
    folder: Path, measured: Measured, monkeypatch: pytest.MonkeyPatch
) -> None:
    _registered(monkeypatch)
    nothing = Reading({"new/given/onnxruntime": ()}, ("energy was not measured: rapl absent",))
    _meters(monkeypatch, energy=nothing)
    with pytest.raises(EdgekdError, match="rapl absent") as told:
        _gate(folder, Budget(energy_mj=1), baseline=False)
    assert told.value.exit_code == 6


def test_a_bundle_for_another_device_is_told(tmp_path: Path) -> None:
    report = gate(str(bundles.written(tmp_path / "made")), Budget(size_mb=1))
    assert report.exit_code == 0
    assert any("made for here, and this machine is" in remark for remark in report.remarks)


@pytest.mark.parametrize(
    ("budget", "said"),
    [
        (Budget(), "gives no limit"),
        (Budget(percentile=99), "gives no limit"),
        (Budget(latency_ratio=1), "name it with --baseline"),
        (Budget(accuracy_drop=1), "name it with --baseline"),
        (Budget(ece=0.1), "--data"),
    ],
)
def test_a_budget_that_nothing_is_held_against_is_refused(folder: Path, budget: Budget, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        _gate(folder, budget, baseline=False)


def test_labels_are_needed_for_accuracy(folder: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "inputs.npz", inputs=np.zeros((2, *SHAPE), np.float32))
    with pytest.raises(UsageError, match="labelled inputs"):
        _gate(folder, Budget(ece=0.1), baseline=False, data=tmp_path / "inputs.npz")


def test_raw_lines_of_an_earlier_gate_are_not_taken_for_this_one(folder: Path, measured: Measured) -> None:
    old = Path("edgekd-gate")
    (old / "attempt-2").mkdir(parents=True)
    (old / "attempt-2" / "latency.jsonl").write_text("old\n")
    (old / "memory.jsonl").write_text("old\n")
    (old / "notes.jsonl").write_text("mine\n")
    report = _gate(folder, Budget(latency_ratio=1.0))
    assert not (old / "attempt-2" / "latency.jsonl").exists()
    assert not (old / "memory.jsonl").exists()
    assert (old / "notes.jsonl").read_text() == "mine\n"
    assert str(old / "latency.jsonl") in report.raw
    assert str(old / "notes.jsonl") not in report.raw


def test_a_report_in_place_of_a_baseline_is_refused_with_every_difference(
    folder: Path, measured: Measured, tmp_path: Path
) -> None:
    plain = _gate(folder, Budget(latency_ratio=1.0)).plain()
    plain["machine"]["cpu"] = "Another Processor"
    plain["operating_point"]["threads"] = 4
    plain["versions"]["onnxruntime"] = "1.0"
    (tmp_path / "main.json").write_text(json.dumps(plain))
    with pytest.raises(UsageError) as told:
        gate(str(folder / "new.onnx"), Budget(latency_ratio=1.0), str(tmp_path / "main.json"))
    for part in ("Another Processor", "threads 4 (here 1)", "onnxruntime 1.0 (here", "give the engine"):
        assert part in str(told.value)
    (tmp_path / "other.json").write_text("[]")
    with pytest.raises(UsageError, match="no engine and no report"):
        gate(str(folder / "new.onnx"), Budget(latency_ratio=1.0), str(tmp_path / "other.json"))


def test_a_refusal_while_measuring_is_told_as_what_it_is(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments, **options):
        raise MeasurementError("the measuring process of new/given/onnxruntime refused: no kernel for Conv")

    monkeypatch.setattr(looks, "measure", refuse)
    with pytest.raises(ExportError, match=r"new.onnx cannot be run by onnxruntime, which says: no kernel for Conv"):
        _gate(folder, Budget(latency_ratio=1.0))


def test_threads_and_batch_come_from_options_budget_bundle_or_are_one(
    folder: Path, measured: Measured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "usable_cores", lambda: 2)
    declared = Budget.model_validate({"latency_ratio": 1.0, "operating_point": {"threads": 2}})
    assert _gate(folder, declared).operating_point.threads == 2
    report = _gate(folder, declared, threads=1, batch=4)
    assert (report.operating_point.threads, report.operating_point.batch) == (1, 4)


def test_more_threads_than_cores_mean_nothing(
    folder: Path, measured: Measured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "usable_cores", lambda: 2)
    with pytest.raises(UsageError, match=r"3 threads cannot run at once on the 2 cores .* give --threads 2"):
        _gate(folder, Budget(latency_ratio=1.0), threads=3)


def test_a_folder_nobody_can_write_to_is_refused_before_anything_is_measured(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ResourceError, match="raw values cannot be written"):
        _gate(folder, Budget(latency_ratio=1.0), raw=tmp_path / "file" / "raw")


def test_free_dimensions_without_sizes_are_refused(tmp_path: Path) -> None:
    import onnx

    write_node(tmp_path / "free.onnx", "Relu")
    model = onnx.load(tmp_path / "free.onnx")
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[1].dim_param = "length"
    onnx.save(model, tmp_path / "free.onnx")
    with pytest.raises(UsageError, match=r"input 'x' of .* has free dimensions .* --shape x=1,1"):
        gate(str(tmp_path / "free.onnx"), Budget(size_mb=1))
    report = gate(str(tmp_path / "free.onnx"), Budget(size_mb=1), shapes=["x=1,7"])
    assert (report.verdict.status, report.processes, report.anchor) == ("met", 0, None)


def test_the_default_folder_of_raw_values_is_in_the_working_directory() -> None:
    assert Path("edgekd-gate") == session.RAW_FOLDER
