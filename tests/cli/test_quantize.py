"""`edgekd quantize`: what is written, what is said and how it ends; only the clock is made up."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner, Result

from edgekd.cli.commands import quantize as subject
from edgekd.errors import ExportError, TargetError, UsageError
from edgekd.export.onnx_file import write
from edgekd.measure import machine
from tests.gate.series_of import Measured, around
from tests.models import INPUT_SHAPE, settled
from tests.onnx_graph.onnx_graphs import model

SCHEME = {"x86-avx2": "u8w7", "x86-vnni": "u8w8"}.get(machine.host_target(), "u8w7")


@pytest.fixture
def measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Measured:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))  # a measurement lock of its own
    monkeypatch.chdir(tmp_path)
    write(settled("residual"), tmp_path / "net.onnx", INPUT_SHAPE)
    random = np.random.default_rng(0)
    samples = random.standard_normal((24, *INPUT_SHAPE), np.float32)
    np.savez(tmp_path / "data.npz", inputs=samples, labels=random.integers(0, 4, 24))
    found = Measured({"net": around(1.0), f"net.{SCHEME}": around(0.6)})
    found.instead(monkeypatch)
    return found


def quantized(*arguments: str) -> Result:
    command = ["net.onnx", "--data", "data.npz", "--quiet", *arguments]
    return CliRunner().invoke(subject.command, command, catch_exceptions=False, standalone_mode=False)


def test_a_faster_file_is_written_and_described(measured: Measured) -> None:
    answer = quantized()
    assert answer.return_value == 0
    lines = answer.stdout.splitlines()
    assert lines[0] == f"5 layers in integers as {SCHEME}, placed by the rules"
    assert any(line.startswith("onnxruntime: 5 convolutions and products in integers") for line in lines)
    assert sum("faster: p50 of" in line for line in lines) == 2
    assert any("accuracy_percent" in line for line in lines)
    assert lines[-1].startswith(f"faster: net.{SCHEME}.onnx, {SCHEME}, cosine 0.99")
    ops = {node.op_type for node in onnx.load(f"net.{SCHEME}.onnx").graph.node}
    assert {"QuantizeLinear", "DequantizeLinear", "Conv"} <= ops


@pytest.mark.parametrize("ms", [1.0, 1.5])
def test_a_file_that_is_not_faster_is_not_kept(measured: Measured, ms: float) -> None:
    measured.ms[f"net.{SCHEME}"] = around(ms)
    answer = quantized()
    assert answer.return_value == 3
    assert answer.stdout.splitlines()[-1].startswith("not faster: ")
    assert not list(Path().glob("net.u8*"))


def test_unmeasured_it_is_written_and_says_so_in_json(measured: Measured) -> None:
    answer = quantized("--time-limit", "0", "--output", "small.onnx", "--json", "--rounding", "nearest")
    assert answer.return_value == 0
    found = json.loads(answer.stdout)
    assert (found["verdict"], found["path"], found["scheme"]) == ("not measured", "small.onnx", SCHEME)
    assert found["layers"] == 5
    assert found["size_mb"] < found["float_mb"]
    assert Path("small.onnx").is_file()


def test_another_targets_file_is_written_without_measuring(measured: Measured) -> None:
    answer = quantized("--target", "raspberry-pi-4")
    assert answer.return_value == 0
    assert answer.stdout.splitlines()[-1].startswith("not measured: net.u8w7.onnx")


def test_packed_weights_are_kept_for_their_size_and_the_clock_is_told(measured: Measured) -> None:
    random = np.random.default_rng(0)
    weights = {"w": (64, 96), "b": (96,), "v": (96, 4)}
    given = {name: random.normal(size=shape).astype(np.float32) for name, shape in weights.items()}
    text = "g (float[N,64] x) => (float[N,4] y) { p = MatMul (x, w) s = Add (p, b) r = Relu (s) y = MatMul (r, v) }"
    onnx.save(model(text, **given), "net.onnx")
    np.savez("data.npz", inputs=random.standard_normal((24, 64), np.float32))
    measured.ms["net.w4"] = around(1.5)
    answer = quantized("--scheme", "w4")
    assert answer.return_value == 0
    lines = answer.stdout.splitlines()
    assert lines[0].startswith("1 layers in integers as w4, with packed weights, the rest in float, left in float: ")
    assert lines[0].endswith(" (having fewer than 1024 weights)")
    assert any(line.startswith("onnxruntime: 1 of 1 products read packed weights; largest error") for line in lines)
    assert lines[-1].startswith("smaller: net.w4.onnx, w4, cosine 0.99")
    assert lines[-1].endswith("% of the float file; openvino slower, onnxruntime slower")
    told = json.loads(quantized("--scheme", "w4", "--time-limit", "0", "--json").stdout)
    assert (told["verdict"], told["path"], told["placement"]) == ("smaller", "net.w4.onnx", "by the rules")
    with pytest.raises(UsageError, match="w4 rounds weights alone, so nothing is placed"):
        quantized("--scheme", "w4", "--placement", "measured")


def test_wrong_use_is_refused_and_leaves_nothing(measured: Measured) -> None:
    with pytest.raises(UsageError, match=r"unknown quantization scheme 'u8w9'"):
        quantized("--scheme", "u8w9")
    with pytest.raises(UsageError, match="no layer is called 'head'; did you mean 'head/logits'"):
        quantized("--keep-float", "head")
    with pytest.raises(UsageError, match="minmaks"):
        quantized("--observer", "minmaks")
    with pytest.raises(TargetError, match="integers do not pay on jetson-nano"):
        quantized("--target", "jetson-nano")
    np.savez("data.npz", inputs=np.zeros((4, 3, 5, 5), np.float32))
    with pytest.raises(UsageError, match="has the shape"):
        quantized()
    Path("net.onnx").write_bytes(b"no network")
    with pytest.raises((UsageError, ExportError), match=r"net\.onnx"):
        quantized()
    assert {path.suffix for path in Path().glob("net*")} == {".onnx"}
    assert not list(Path().glob("net.u8*"))
