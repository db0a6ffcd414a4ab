"""`edgekd profile`: every meter, every layer, one JSON file; another machine is refused before anything is measured."""

from __future__ import annotations

import socket
import tempfile

import pytest
import yaml
from click.testing import CliRunner, Result

from edgekd.cli.commands import profile as subject
from edgekd.connection.connection import Connection
from edgekd.errors import TargetError, UsageError
from edgekd.gate import profiling
from edgekd.measure import machine
from edgekd.measure.meter import METERS
from edgekd.profile import Profile
from edgekd.schema import read_json
from tests.measure.tiny_engines import write_onnx

QUICK = ["energy", "latency", "memory", "plain-call", "size"]


def profiled(*arguments: str) -> Result:
    command = [*arguments, "--quiet", "--processes", "3"]
    return CliRunner().invoke(subject.command, command, catch_exceptions=False, standalone_mode=False)


@pytest.fixture(scope="module")
def answer(tmp_path_factory: pytest.TempPathFactory) -> Result:
    """One profile by the meters that take little time."""
    folder = tmp_path_factory.mktemp("profile")
    write_onnx(folder / "net.onnx", layers=2)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(tempfile, "tempdir", str(folder))  # a measurement lock of its own
        patch.setattr(METERS, "names", lambda: QUICK)
        patch.setattr(Connection, "target", lambda _: "x86-vnni")
        found = profiled("net.onnx", "--target", "host", "--contribute")
    found.folder = folder
    return found


def test_the_profile_holds_figures_layers_and_the_anchor(answer: Result) -> None:
    found = read_json(Profile, answer.folder / "edgekd-profile" / "profile.json")
    record, anchor = found.records
    assert (found.target, found.origin) == ("x86-vnni", "device")
    assert record.key == "net/given/onnxruntime"
    assert anchor.network == "anchor-1"
    names = {figure.name for figure in record.figures}
    assert names >= {"latency_ms_p50", "latency_ms_p90", "load_ms", "first_result_ms", "peak_memory_mb", "size_mb"}
    assert names >= {"plain_call_extra_ms", "run_scatter_percent", "process_scatter_percent"}
    assert any("Conv" in layer.op for layer in record.layers)
    assert sum(layer.share for layer in record.layers) == pytest.approx(1)
    written = {file.name for file in (answer.folder / "edgekd-profile").iterdir()}
    assert written >= {"latency.jsonl", "memory.jsonl", "plain-call.jsonl", "layers-net-given-onnxruntime.jsonl"}


def test_what_is_to_be_sent_in_says_nothing_about_who_sends_it(answer: Result) -> None:
    if answer.return_value:
        assert not (answer.folder / "edgekd-profile" / "contribution.yaml").exists()
        return
    text = (answer.folder / "edgekd-profile" / "contribution.yaml").read_text()
    told = yaml.safe_load(text)
    assert (told["target"], told["runtime"]) == ("x86-vnni", "onnxruntime")
    assert told["machine"]["cpu"] == machine.probe()["cpu"]
    assert any(figure["name"] == "latency_ms_p90" for figure in told["figures"])
    for private in (socket.gethostname(), str(answer.folder), machine.probe()["boot"], "net.onnx"):
        assert private not in text


def test_the_table_shows_it_and_ends_with_the_result(answer: Result) -> None:
    lines = answer.stdout.splitlines()
    assert any("ms a call" in line for line in lines)
    assert any("Conv" in line and "%" in line for line in lines)
    assert any(line.startswith("note: energy ") for line in lines)
    assert answer.return_value == (5 if lines[-1].startswith("not trustworthy: ") else 0)
    assert "net/given/onnxruntime on x86-vnni: p90 is " in lines[-1]


def test_another_machine_is_refused_before_anything_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Connection, "target", lambda _: "x86-vnni")
    monkeypatch.setattr(profiling, "bench", None)
    with pytest.raises(TargetError, match="x86-avx2 is not this machine, which is x86-vnni"):
        profiled("net.onnx", "--target", "x86-avx2")
    with pytest.raises(UsageError, match="did you mean 'x86-avx2'"):
        profiled("net.onnx", "--target", "x86-avx")
