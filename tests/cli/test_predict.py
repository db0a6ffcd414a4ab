"""`edgekd predict`: latency, memory, costly layers and free widths, from a kernel profile or from a datasheet."""

from __future__ import annotations

import json
from pathlib import Path

import onnx
import pytest
import yaml
from click.testing import CliRunner, Result

from edgekd import target as targets
from edgekd.catalogue import find
from edgekd.cli.commands import predict as subject
from edgekd.errors import TargetError, UsageError
from edgekd.onnx_graph.quantized import quantized
from edgekd.predict import known
from edgekd.schema import read_yaml
from tests.onnx_graph.onnx_graphs import classic
from tests.predict import synthetic_machine as machine


def predicted(*arguments: object) -> Result:
    command = [str(argument) for argument in arguments]
    return CliRunner().invoke(subject.command, command, catch_exceptions=False, standalone_mode=False)


@pytest.fixture(scope="module")
def profile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("known") / "kernels.json"
    known.save(machine.profile(), file)
    return file


@pytest.fixture
def known_here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The user's own profile of x86-vnni."""
    monkeypatch.setenv("EDGEKD_CACHE", str(tmp_path))
    file = known.own_file("x86-vnni")
    known.save(machine.profile(), file)
    return file


def test_it_says_what_a_network_would_cost_and_why(known_here: Path) -> None:
    answer = predicted(classic("squeezenet"), "--target", "x86-vnni")
    assert answer.return_value == 0
    lines = answer.stdout.splitlines()
    assert lines[0].startswith("fp32/onnxruntime on x86-vnni, batch 1, threads 1: ")
    assert lines[0].endswith("(predicted) ms")
    assert "peak_memory_mb" in lines[1]
    assert sum("conv" in line and "%" in line for line in lines) >= 8
    assert f"profile: {known_here}, measured on a formula" in lines
    assert lines[-1].startswith("predicted: light_squeezenet.onnx fastest as fp32 on onnxruntime: ")


def test_json_holds_every_kernel_and_widths_of_the_costly_ones(profile: Path) -> None:
    answer = predicted(classic("squeezenet"), "--target", "x86-vnni", "--profile", profile, "--json", "--layers", "5")
    (found,) = json.loads(answer.stdout)
    assert (found["scheme"], found["runtime"], found["latency"]["origin"]) == ("fp32", "onnxruntime", "predicted")
    assert found["latency"]["lower"] < found["latency"]["value"] < found["latency"]["upper"]
    total = found["call_ms"] + sum(layer["ms"] for layer in found["layers"])
    assert total == pytest.approx(found["latency"]["value"])
    wide = [layer["widths"] for layer in found["layers"] if layer["widths"]]
    assert wide
    assert all(one["free"] >= one["width"] for one in wide)


def test_a_float_network_is_predicted_as_what_quantization_would_make_of_it(profile: Path, tmp_path: Path) -> None:
    plain = predicted(classic("squeezenet"), "--target", "x86-vnni", "--profile", profile, "--json")
    integer = predicted(
        classic("squeezenet"), "--target", "x86-vnni", "--profile", profile, "--json", "--scheme", "u8w8"
    )
    file = tmp_path / "integer.onnx"
    onnx.save(quantized(onnx.load(str(classic("squeezenet")))), str(file))
    given = predicted(file, "--target", "x86-vnni", "--profile", profile, "--json")
    ms = [json.loads(answer.stdout)[0]["latency"]["value"] for answer in (plain, integer, given)]
    assert ms[1] < 0.7 * ms[0]
    assert ms[2] == pytest.approx(ms[1], rel=0.02)
    for scheme in ("u8w8", "fp32"):
        with pytest.raises(UsageError, match="quantized"):
            predicted(file, "--target", "x86-vnni", "--profile", profile, "--scheme", scheme)


def test_wrong_input_is_one_sentence(profile: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    at = ("--target", "x86-vnni", "--profile", profile)
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"not a network")
    with pytest.raises(UsageError, match=r"broken.onnx"):
        predicted(broken, *at)
    with pytest.raises(UsageError, match=r"missing.onnx"):
        predicted(tmp_path / "missing.onnx", *at)
    with pytest.raises(UsageError, match="holds nothing of runtime 'openvino'; known: onnxruntime"):
        predicted(classic("squeezenet"), *at, "--runtime", "openvino")
    with pytest.raises(UsageError, match="unknown scheme 'w4'; known: fp32, u8w8"):
        predicted(classic("squeezenet"), *at, "--scheme", "w4")
    with pytest.raises(UsageError, match="cannot be read as JSON"):
        predicted(classic("squeezenet"), "--target", "x86-vnni", "--profile", broken)
    monkeypatch.setenv("EDGEKD_CACHE", str(tmp_path))
    monkeypatch.setattr(known, "find", lambda target: None)
    with pytest.raises(TargetError, match="run: edgekd profile --target x86-vnni --kernels"):
        predicted(classic("squeezenet"), "--target", "x86-vnni")


@pytest.fixture
def xavier(tmp_path: Path) -> Path:
    """A target file with what a datasheet says."""
    data, _ = read_yaml(find("targets", "x86-vnni"))
    fact = {"source": "AGX Xavier datasheet, fp16", "evidence": "vendor"}
    board = {"dense_tflops": 11.3, "vector_tflops": 2.82, "bandwidth_gbs": 136.5}
    data |= {"name": "xavier", "board": {key: {"value": value, **fact} for key, value in board.items()}}
    file = tmp_path / "xavier.yaml"
    file.write_text(yaml.safe_dump(data))
    assert targets.load(str(file)).board is not None
    return file


def test_a_target_without_a_profile_is_predicted_from_its_datasheet(xavier: Path) -> None:
    answer = predicted(classic("resnet50"), "--target", xavier, "--json")
    (found,) = json.loads(answer.stdout)
    assert 1.0 < found["latency"]["value"] < 12.0  # the table of its maker's networks has 2.4 to 3 ms
    assert found["latency"]["lower"] < found["latency"]["value"] < found["latency"]["upper"]
    text = predicted(classic("resnet50"), "--target", xavier).stdout
    assert "no kernel profile of xavier is known" in text
    assert "measure it on the device" in text


def test_figures_measured_there_move_it(xavier: Path, tmp_path: Path) -> None:
    figures = tmp_path / "figures.csv"
    figures.write_text(f"network,ms\n{classic('squeezenet')},4\n{classic('resnet50')},20\n")
    bare = json.loads(predicted(classic("inception_v1"), "--target", xavier, "--json").stdout)[0]["latency"]
    told = predicted(classic("inception_v1"), "--target", xavier, "--json", "--figures", figures)
    found = json.loads(told.stdout)[0]["latency"]
    assert found["value"] > 2 * bare["value"]
    assert found["upper"] / found["lower"] < bare["upper"] / bare["lower"]
    for text, words in (("network,ms\nx.onnx,fast\n", r"figures.csv:2: expected"), ("network,ms\n", "holds no figure")):
        figures.write_text(text)
        with pytest.raises(UsageError, match=words):
            predicted(classic("squeezenet"), "--target", xavier, "--figures", figures)
