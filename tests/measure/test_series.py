from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from edgekd.budget import OperatingPoint
from edgekd.connection.child import Child
from edgekd.connection.connection import Connection, local
from edgekd.errors import MeasurementError, UsageError
from edgekd.measure import series
from edgekd.measure.comparison import fastest_teacher, paired_ratio, ratio_in_turns
from edgekd.measure.series import Engine, Series, looks_of, measure
from edgekd.measure.turns import blocks_needed
from edgekd.stage import Progress
from tests.measure.tiny_engines import engine, write_inputs, write_onnx, write_openvino


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    here = tmp_path_factory.mktemp("series")
    write_openvino(write_onnx(here / "light.onnx"), here / "light")
    write_onnx(here / "heavy.onnx", layers=12, channels=32)
    write_inputs(here / "inputs.npy")
    return here


def _engines(folder: Path) -> list[Engine]:
    return [
        engine(folder / "heavy.onnx", "teacher"),
        engine(folder / "light.onnx", "student"),
        engine(folder / "light", "student", "openvino"),
    ]


def _measure(folder: Path, raw: Path, processes: int, connection: Connection | None = None) -> Series:
    return measure(
        _engines(folder),
        folder / "inputs.npy",
        OperatingPoint(),
        90,
        processes=processes,
        raw=raw,
        progress=Progress(),
        title="latency",
        connection=connection,
    )


def test_a_series_tells_the_heavy_engine_from_the_light_one(folder: Path, tmp_path: Path) -> None:
    found = _measure(folder, tmp_path / "raw.jsonl", 2)
    teacher, student, other = found.records
    assert [record.key for record in found.records] == [e.key for e in _engines(folder)]
    assert fastest_teacher(found.records, 90) is teacher
    for light in (student, other):
        assert paired_ratio(light, teacher, 90, "ratio").value < 0.7
        assert light.figure("latency_ms_p90").origin == "host"
        assert light.figure("latency_ms_p90").samples == 2
        assert len(found.blocks[light.key]) == len(found.blocks[teacher.key]) == 2 * blocks_needed(90)
        assert ratio_in_turns(found, light.key, teacher.key) < 0.7
        assert light.figure("latency_ms_p90").upper is None  # two processes give no bound
        for low, high in zip(light.per_process["latency_ms_p50"], light.per_process["latency_ms_p90"], strict=True):
            assert 0 < low <= high
    assert found.machine["before"]["affinity"] == found.machine["after"]["affinity"]


def test_raw_values_suffice_for_the_percentile_and_are_in_abba_order(folder: Path, tmp_path: Path) -> None:
    found = _measure(folder, tmp_path / "raw.jsonl", 1)
    lines = [json.loads(line) for line in (tmp_path / "raw.jsonl").read_text().splitlines()]
    processes = {line["engine"]: line for line in lines if line["kind"] == "process"}
    assert set(processes) == {record.key for record in found.records}
    for process in processes.values():
        assert sum(len(block["ms"]) for block in process["blocks"]) >= 64
    timeline = sorted((block["at"], key) for key, process in processes.items() for block in process["blocks"])
    order = [key for _, key in timeline]
    keys = [record.key for record in found.records]
    assert order == (keys + keys[::-1]) * (len(order) // 6)


def test_running_again_replays_and_extending_adds_processes_only(folder: Path, tmp_path: Path) -> None:
    raw = tmp_path / "raw.jsonl"
    first = _measure(folder, raw, 1)
    size = raw.stat().st_size
    assert _measure(folder, raw, 1).records == first.records
    assert raw.stat().st_size == size
    extended = _measure(folder, raw, 2)
    for before, after in zip(first.records, extended.records, strict=True):
        assert after.per_process["latency_ms_p90"][:1] == before.per_process["latency_ms_p90"]
        assert after.per_process["look"] == (2.0, 1.0)
        assert looks_of(after) == [1, 2]


def test_a_percentile_beyond_the_time_limit_is_refused_before_its_time_is_spent(folder: Path, tmp_path: Path) -> None:
    raw = tmp_path / "raw.jsonl"
    begin = time.monotonic()
    with pytest.raises(MeasurementError, match=r"p99.99 needs \d+ runs in each of 11 processes"):
        measure(
            _engines(folder)[:1],
            folder / "inputs.npy",
            OperatingPoint(),
            99.99,
            processes=11,
            raw=raw,
            progress=Progress(),
            title="latency",
            time_limit_s=20,
        )
    assert time.monotonic() - begin < 15
    assert '"process"' not in raw.read_text()


def test_a_series_tells_what_it_took_and_what_disturbed_it(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = Child.ask

    def jumping(child: Child, request: dict, timeout_s: float) -> dict:
        answer = asked(child, request, timeout_s)
        if request.get("step") == "block" and child.label.startswith("student/fp32/openvino"):
            answer["changed"] = ["the wall clock jumped by +5.0 s"]
        return answer

    monkeypatch.setattr(Child, "ask", jumping)
    found = _measure(folder, tmp_path / "raw.jsonl", 1)
    assert found.seconds == found.seconds_per_round > 0
    blocks = blocks_needed(90)
    assert found.discarded["the wall clock jumped by +5.0 s"] == 3 * blocks  # every block, three attempts
    assert "the wall clock jumped" in found.machine["engine_doubts"]["student/fp32/openvino"]
    assert "teacher/fp32/onnxruntime" not in found.machine["engine_doubts"]
    assert any("x the wall clock jumped" in remark for remark in found.machine["remarks"])


def test_an_engine_that_cannot_be_opened_ends_the_series(folder: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"no network")
    with pytest.raises(MeasurementError, match="broken/fp32/onnxruntime"):
        measure(
            [engine(broken, "broken")],
            folder / "inputs.npy",
            OperatingPoint(),
            90,
            processes=1,
            raw=tmp_path / "raw.jsonl",
            progress=Progress(),
            title="latency",
        )


def test_a_child_that_dies_in_the_middle_loses_only_its_round(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = tmp_path / "raw.jsonl"
    first = _measure(folder, raw, 1)
    with local() as connection:
        started = connection.start

        def kill_second(label: str):
            child = started(label)
            if label.startswith("student"):
                child.greet()
                child._process.kill()
            return child

        monkeypatch.setattr(connection, "start", kill_second)
        with pytest.raises(MeasurementError, match="student/fp32/"):
            _measure(folder, raw, 2, connection)
    assert _measure(folder, raw, 1).records == first.records


@pytest.mark.parametrize("names", [[], ["a", "a"]])
def test_a_series_of_nothing_or_of_twins_is_refused(folder: Path, tmp_path: Path, names: list[str]) -> None:
    engines = [engine(folder / "light.onnx", name) for name in names]
    with pytest.raises(UsageError):
        series.measure(
            engines,
            folder / "inputs.npy",
            OperatingPoint(),
            90,
            processes=1,
            raw=tmp_path / "raw.jsonl",
            progress=Progress(),
            title="latency",
        )
