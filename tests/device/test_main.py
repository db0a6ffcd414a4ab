from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import edgekd.device
import edgekd.runtime.session
from edgekd.connection.connection import pack
from tests.measure.tiny_engines import CLASSES, SHAPE, write_inputs, write_onnx, write_openvino


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with engines, inputs and the zipapp."""
    here = tmp_path_factory.mktemp("device")
    write_openvino(write_onnx(here / "tiny.onnx"), here / "tiny")
    write_inputs(here / "inputs.npy")
    pack(here / "device.pyz")
    (here / "empty").mkdir()
    return here


def _talk(folder: Path, *requests: object) -> list[dict]:
    """Run the zipapp from an empty folder and return its answers, the greeting first."""
    lines = "".join((r if isinstance(r, str) else json.dumps(r)) + "\n" for r in requests)
    done = subprocess.run(
        [sys.executable, str(folder / "device.pyz")],
        input=lines,
        capture_output=True,
        text=True,
        cwd=folder / "empty",
        timeout=60,
        check=True,
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


def _at(folder: Path, runtime: str = "onnxruntime") -> dict:
    engine = folder / ("tiny.onnx" if runtime == "onnxruntime" else "tiny")
    return {"runtime": runtime, "engine": str(engine), "inputs": str(folder / "inputs.npy"), "threads": 1, "batch": 1}


def test_zipapp_and_module_answer_the_same(folder: Path) -> None:
    by_module = subprocess.run(
        [sys.executable, "-m", "edgekd.device"],
        input='{"verb": "probe"}\n',
        capture_output=True,
        text=True,
        cwd=Path(edgekd.device.__file__).parents[2],
        timeout=60,
        check=True,
    )
    greeting, probe = (json.loads(line) for line in by_module.stdout.splitlines())
    zipped = _talk(folder, {"verb": "probe"})
    assert greeting["protocol"] == zipped[0]["protocol"] == 1
    lasting = {"machine", "cpu", "isa", "cores", "versions", "boot"}
    assert {key: probe[key] for key in lasting} == {key: zipped[1][key] for key in lasting}


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_time_opens_warms_and_gives_as_many_runs_as_asked(folder: Path, runtime: str) -> None:
    steps = [
        {"verb": "time", "step": "open", **_at(folder, runtime)},
        {"verb": "time", "step": "warm", "least_s": 0.0, "most_s": 5.0},
        {"verb": "time", "step": "block", "runs": 5, "skip": 2},
    ]
    _, opened, warmed, block = _talk(folder, *steps)
    assert 0 < opened["load_ms"] < opened["first_result_ms"]
    assert opened["finite"]
    assert warmed["windows"] >= 3
    assert warmed["run_ms"] > 0
    assert len(block["ms"]) == 5
    assert min(block["ms"]) > 0
    assert block["changed"] == []


@pytest.mark.parametrize(("runtime", "batch", "first"), [("onnxruntime", None, None), ("openvino", 2, None)])
def test_describe_tells_names_types_and_free_sizes(
    folder: Path, runtime: str, batch: int | None, first: int | None
) -> None:
    request = {"verb": "describe", **_at(folder, runtime), "batch": batch}
    answer = _talk(folder, request)[1]
    assert answer["inputs"] == [{"name": "input", "dtype": "float32", "shape": [first, *SHAPE]}]
    assert answer["outputs"] == [{"name": "logits", "dtype": "float32", "shape": [first, CLASSES]}]


def test_evaluate_answers_every_input_whatever_the_batch(folder: Path) -> None:
    ways = [("onnxruntime", 1), ("onnxruntime", 7), ("openvino", 7)]
    requests = [
        {"verb": "evaluate", **_at(folder, runtime), "batch": batch, "outputs": str(folder / f"out{i}.npy")}
        for i, (runtime, batch) in enumerate(ways)
    ]
    assert [answer["ok"] for answer in _talk(folder, *requests)] == [True] * 4
    first, *others = (np.load(folder / f"out{i}.npy") for i in range(len(ways)))
    assert first.shape == (20, CLASSES)
    for other in others:
        np.testing.assert_allclose(other, first, rtol=1e-4, atol=1e-5)


def test_memory_of_an_engine_is_above_the_empty_process(folder: Path) -> None:
    empty = _talk(folder, {"verb": "memory", "runtime": "openvino", "engine": None})[1]
    full = _talk(folder, {"verb": "memory", **_at(folder, "openvino")})[1]
    assert full["peak_mb"] > empty["peak_mb"] > 10
    assert full["peak_mb"] >= full["load_peak_mb"]


def test_a_fault_is_an_answer_and_not_the_end(folder: Path) -> None:
    answers = _talk(
        folder,
        {"verb": "dance"},
        "no json",
        {"verb": "time", "step": "block", "runs": 1, "skip": 0},
        {"verb": "memory", "runtime": "no_such_runtime"},
        {"verb": "evaluate"},
        {"verb": "probe"},
    )
    assert [answer["ok"] for answer in answers] == [True, False, False, False, False, False, True]
    assert (
        "build, describe, energy, evaluate, layers, loadgen, lock, memory, operators, probe, throughput, time"
        in answers[1]["error"]
    )
    assert answers[4]["kind"] == "ModuleNotFoundError"


def test_packing_twice_gives_the_same_bytes(folder: Path) -> None:
    assert pack(folder / "again.pyz").read_bytes() == (folder / "device.pyz").read_bytes()


@pytest.mark.parametrize(
    "path",
    [*Path(edgekd.device.__file__).parent.glob("*.py"), Path(edgekd.runtime.session.__file__)],
    ids=lambda path: path.name,
)
def test_the_device_needs_no_newer_python_than_3_8(path: Path) -> None:
    ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 8))
