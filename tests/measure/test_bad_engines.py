"""Engines that crash, hang, leak or answer no numbers: real processes with a runtime that does what the file says."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgekd.budget import OperatingPoint
from edgekd.connection.connection import local
from edgekd.connection.lock import measurement_lock
from edgekd.errors import MeasurementError
from edgekd.measure.engine import Engine
from edgekd.measure.meter import Setup, create
from edgekd.measure.series import Series, measure
from edgekd.stage import Progress

RUNTIME = """
import os, sys, time
import numpy as np

class ExecutionMode:
    ORT_SEQUENTIAL = 0

class SessionOptions:
    def add_session_config_entry(self, key, value):
        pass

class OrtValue:
    ortvalue_from_numpy = staticmethod(lambda array: array)

class Value:
    def __init__(self, name, shape):
        self.name, self.type, self.shape = name, "tensor(float)", shape

class Binding:
    def bind_ortvalue_input(self, name, value):
        pass
    def bind_ortvalue_output(self, name, value):
        self.output = value

class InferenceSession:
    def __init__(self, path, options, providers):
        self.fault, self.kept = open(path).read(), []
    def get_inputs(self):
        return [Value("input", ["batch", 1, 8, 8])]
    def get_outputs(self):
        return [Value("logits", ["batch", 3])]
    def io_binding(self):
        return Binding()
    def run(self, names, feed):
        return [np.zeros((1, 3), np.float32)]
    def run_with_iobinding(self, binding):
        if self.fault == "crash":
            print("illegal instruction", file=sys.stderr, flush=True)
            os.abort()
        if self.fault == "hang":
            time.sleep(600)
        if self.fault == "leak":
            self.kept.append(np.ones(10_240, np.uint8))
        if self.fault == "nan":
            binding.output[:] = np.nan
        time.sleep(0.0005)
"""


@pytest.fixture
def inputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Inputs beside a runtime that takes the place of the real one in every process started from now on."""
    (tmp_path / "packages").mkdir()
    (tmp_path / "packages/onnxruntime.py").write_text(RUNTIME)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "packages"))
    np.save(tmp_path / "inputs.npy", np.zeros((4, 1, 8, 8), np.float32))
    return tmp_path / "inputs.npy"


def _engine(inputs: Path, fault: str) -> Engine:
    path = inputs.with_name(f"{fault}.onnx")
    path.write_text(fault)
    return Engine(fault, "fp32", "onnxruntime", path, fault)


def _series(inputs: Path, *faults: str, hang_s: float = 60) -> Series:
    return measure(
        [_engine(inputs, fault) for fault in faults],
        inputs,
        OperatingPoint(),
        50,
        processes=1,
        raw=inputs.with_name("raw.jsonl"),
        progress=Progress(),
        title="latency",
        hang_s=hang_s,
    )


def test_a_crash_ends_the_series_with_its_last_words(inputs: Path) -> None:
    with pytest.raises(MeasurementError, match=r"crash/fp32/onnxruntime ended \(exit status -6\).*illegal instruction"):
        _series(inputs, "good", "crash")


def test_a_hang_ends_the_series_when_its_time_is_over(inputs: Path) -> None:
    with pytest.raises(MeasurementError, match="hang/fp32/onnxruntime gave no answer for 3 s"):
        _series(inputs, "good", "hang", hang_s=3)


def test_outputs_that_are_no_numbers_are_told_by_engine(inputs: Path) -> None:
    found = _series(inputs, "good", "nan")
    assert found.not_finite == ("nan/fp32/onnxruntime",)
    assert [record.network for record in found.records] == ["good", "nan"]


def test_ten_kilobytes_a_run_are_a_leak(inputs: Path) -> None:
    with local() as connection:
        setup = Setup(inputs, OperatingPoint(), 90, "host", connection, inputs.with_name("raw"))
        reading = create("memory", {"processes": 1}).measure([_engine(inputs, "good"), _engine(inputs, "leak")], setup)
    assert list(reading.doubts) == ["leak/fp32/onnxruntime"]
    said = reading.doubts["leak/fp32/onnxruntime"]
    assert said.startswith("memory grows by ")
    assert 8 < float(said.split()[3]) < 13
    assert len(reading.remarks) == 1


def test_inputs_of_another_type_are_refused_not_converted(inputs: Path) -> None:
    np.save(inputs, np.zeros((4, 1, 8, 8)))
    with pytest.raises(MeasurementError, match="input 'input' was given as float64, the engine wants float32"):
        _series(inputs, "good")


def test_an_engines_own_inputs_and_batch_take_the_place_of_the_common_ones(inputs: Path) -> None:
    own = inputs.with_name("own.npy")
    np.save(own, np.zeros((4, 1, 8, 8), np.float32))
    np.save(inputs, np.zeros((8, 5), np.float32))
    engine = replace(_engine(inputs, "good"), inputs=own, batch=1)
    found = measure(
        [engine],
        inputs,
        OperatingPoint(batch=2),
        50,
        processes=1,
        raw=inputs.with_name("raw.jsonl"),
        progress=Progress(),
        title="latency",
    )
    assert found.records[0].per_process["first_result_ms"][0] > found.records[0].per_process["load_ms"][0]


def test_another_process_that_measures_is_waited_for_and_then_named(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib\n"
        "from edgekd.connection.lock import measurement_lock\n"
        "with measurement_lock(folder=pathlib.Path(sys.argv[1])):\n"
        "    print('held', flush=True); sys.stdin.read()\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "held\n"
        with (
            pytest.raises(MeasurementError, match="another measurement holds"),
            measurement_lock(timeout_s=0.3, folder=tmp_path),
        ):
            pass
        other.kill()  # the kernel frees what a dead process held
        other.wait()
    with measurement_lock(timeout_s=5, folder=tmp_path):
        pass
