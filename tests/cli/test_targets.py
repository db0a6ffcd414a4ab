"""`edgekd targets`: every target with its resolution here, and every number of one with its source."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from edgekd import catalogue, target
from edgekd.cli.commands import targets as subject
from edgekd.connection import connection
from edgekd.errors import MeasurementError, TargetError, UsageError
from edgekd.measure import host, machine, registration
from tests.cli.test_commands import edgekd
from tests.gate.series_of import Measured, around


def answered(*arguments: str) -> str:
    """Run the command in this process, where the machine can be another one."""
    result = CliRunner().invoke(subject.command, arguments, catch_exceptions=False, standalone_mode=False)
    assert result.return_value == 0
    return result.stdout


def test_the_real_command_lists_every_target() -> None:
    answer = edgekd("targets", "--json")
    assert answer.returncode == 0, answer.stderr
    rows = {row["name"]: row for row in json.loads(answer.stdout)}
    assert rows.keys() == {*catalogue.names("targets"), "host"}
    assert rows["x86-avx2"]["title"] == target.load("x86-avx2").title


def test_aliases_resolve_to_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("x86-avx2", "x86-vnni"):
        monkeypatch.setattr(machine, "host_target", lambda name=name: name)
        rows = {row["name"]: row for row in json.loads(answered("--json"))}
        assert rows["cpu"]["resolves_to"] == rows["host"]["resolves_to"] == name
        assert [known for known in ("x86-avx2", "x86-vnni") if rows[known]["this_machine"]] == [name]
        lines = answered().splitlines()
        assert lines[-1] == f"this machine is {name}"
        assert any(line.split()[:5] == ["cpu", "another", "name", "for", name] for line in lines)
        assert any(line.split()[:5] == ["jetson", "another", "name", "for", "jetson-orin-nano"] for line in lines)


def test_one_target_shows_every_number_with_its_source(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "host_target", lambda: "x86-vnni")
    for name in ("x86-avx2", "x86-vnni"):
        text, loaded = answered(name), target.load(name)
        for quantization in loaded.quantization.values():
            assert quantization.scheme in text
            assert quantization.source in text
        for step in loaded.channel_step.values():
            assert f"{step.value:g}; source: {step.source}" in text
        assert json.loads(answered(name, "--json")) == loaded.plain()
    assert "(cpu resolves to it)" in answered("cpu")
    assert answered("cpu").splitlines()[-1] == "verified: measured with edgekd, this machine"
    assert answered("x86-avx2").splitlines()[-1] == "unverified, not this machine"


def test_a_file_of_ones_own_is_shown(tmp_path: Path) -> None:
    own = tmp_path / "mine.yaml"
    own.write_text(catalogue.find("targets", "x86-avx2").read_text().replace("name: x86-avx2", "name: mine"))
    assert edgekd("targets", str(own)).stdout.startswith("mine: ")


def test_a_machine_that_is_no_target_still_gets_the_list(monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> str:
        raise TargetError("no shipped target fits this machine (riscv64)")

    monkeypatch.setattr(machine, "host_target", none)
    lines = answered().splitlines()
    assert lines[-1] == "no shipped target fits this machine (riscv64)"
    assert any(line.startswith("x86-avx2 ") for line in lines)
    assert {row["name"] for row in json.loads(answered("--json")) if row["resolves_to"] is None} == {"host", "cpu"}
    with pytest.raises(TargetError, match="riscv64"):
        answered("cpu")


def test_an_unknown_name_gets_the_nearest() -> None:
    answer = edgekd("targets", "x86-avx")
    assert answer.returncode == 2
    assert "did you mean 'x86-avx2'" in answer.stderr


def test_show_is_what_a_name_means() -> None:
    assert edgekd("targets", "show", "x86-avx2").stdout == edgekd("targets", "x86-avx2").stdout
    listed = edgekd("targets", "--help").stdout
    assert "register-host" in listed
    assert "show" in listed


@pytest.fixture
def registering(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Measured:
    monkeypatch.setenv("EDGEKD_CACHE", str(tmp_path / "cache"))
    found = Measured({"anchor-1": around(0.5, 0.001)})
    monkeypatch.setattr(registration, "measure", found)
    monkeypatch.setattr(connection, "usable_cores", lambda: 2)
    return found


def test_a_host_is_registered_in_every_runtime(registering: Measured) -> None:
    lines = answered("register-host", "--quiet").splitlines()
    assert len(lines) == 4
    assert "onnxruntime" in lines[1]
    assert "openvino" in lines[2]
    assert "median of 132 processes" in lines[1]
    assert lines[-1].startswith("registered: milliseconds count on this host")
    found = host.load(machine.probe())
    assert [anchor.runtime for anchor in found.anchors] == ["onnxruntime", "openvino"]
    again = json.loads(answered("register-host", "--quiet", "--runtime", "openvino", "--threads", "2", "--json"))
    assert [(a["runtime"], a["threads"]) for a in again["anchors"]] == [
        ("onnxruntime", 1),
        ("openvino", 1),
        ("openvino", 2),
    ]


def test_a_machine_in_doubt_or_an_unknown_runtime_is_not_registered(registering: Measured) -> None:
    registering.machine["doubts"] = ["the hypervisor took 9% of the processor time meanwhile"]
    with pytest.raises(MeasurementError, match="hypervisor took 9%"):
        answered("register-host", "--quiet")
    with pytest.raises(UsageError, match="did you mean 'openvino'"):
        answered("register-host", "--quiet", "--runtime", "openvin")
    with pytest.raises(UsageError, match="3 threads cannot run at once"):
        answered("register-host", "--quiet", "--threads", "3")
    assert host.load(machine.probe()) is None
