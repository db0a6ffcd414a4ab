"""A short profile of this machine, as the command line measures one, and what is made of it."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from edgekd import target as targets
from edgekd.cli.commands import predict, profile
from edgekd.connection.connection import local
from edgekd.errors import ExitCode, MeasurementError, TargetError, UsageError
from edgekd.kernel import KernelProfile
from edgekd.kernels import reanchoring
from edgekd.kernels.reanchoring import reanchored
from edgekd.measure import anchor, machine
from edgekd.predict import known
from edgekd.stage import Progress

SECONDS = 60


def run(command: object, *arguments: str) -> Result:
    return CliRunner().invoke(command, arguments, catch_exceptions=False, standalone_mode=False)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def profiled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    """One runtime, so that some dozens of probes fit into the time."""
    folder = tmp_path_factory.mktemp("kernels")
    file = folder / "kernels.json"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(folder))  # a measurement lock of its own
        arguments = ("--time-limit", str(SECONDS), "--runtime", "onnxruntime", "--profile", str(file), "--quiet")
        return file, run(profile.command, "--kernels", *arguments)


def test_a_profile_holds_probes_spread_and_the_machine(profiled: tuple[Path, Result]) -> None:
    file, answer = profiled
    assert answer.return_value in {0, ExitCode.NOT_TRUSTWORTHY}
    assert "left-out probes are predicted" in answer.stdout
    found = known.load(file)
    assert found.machine["seconds"] < 1.5 * SECONDS
    assert found.target == machine.host_target()
    assert found.versions["onnxruntime"]
    schemes = {"fp32", *targets.load("host", machine.host_target()).schemes()}
    assert {probe.scheme for probe in found.probes} == schemes
    assert len({timed.kernel.code for probe in found.probes for timed in probe.kernels}) > 20
    assert all(probe.runs >= 10 and probe.ms > 0 for probe in found.probes)
    matched = sum(timed.ms is not None for probe in found.probes for timed in probe.kernels)
    assert matched > 0.95 * sum(len(probe.kernels) for probe in found.probes)
    assert found.fits["onnxruntime"].error < 0.5
    assert {probe.scheme for probe in found.memory} == schemes


def test_the_anchor_is_predicted_from_it(profiled: tuple[Path, Result]) -> None:
    file, _ = profiled
    answer = run(predict.command, str(anchor.FILE), "--profile", str(file), "--json")
    (found,) = json.loads(answer.stdout)
    measured = known.load(file).anchor_ms["onnxruntime"]
    assert measured / 2 < found["latency"]["value"] < 2 * measured
    assert found["memory"]["value"] > 0


def test_the_same_machine_has_hardly_drifted(
    profiled: tuple[Path, Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(reanchoring, "_NETWORKS", 16)
    file, _ = profiled
    older = known.load(file)
    older = older.model_copy(update={"versions": {**older.versions, "onnxruntime": "1.0.0"}})
    monkeypatch.setattr(reanchoring, "MOST_SCATTER", 1.0)  # a busy machine scatters; the sentence counts here
    with local() as connection:
        found, said = reanchored(older, Progress(), connection)
    assert found.versions["onnxruntime"] == machine.probe()["versions"]["onnxruntime"]
    assert len(said) == 2
    assert all("onnxruntime 1.0.0 -> " in sentence and "drift" in sentence for sentence in said)
    assert found.probes[0].ms == pytest.approx(older.probes[0].ms, rel=0.5)


def test_kernels_that_changed_differently_are_not_corrected_by_one_factor(
    profiled: tuple[Path, Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(reanchoring, "_NETWORKS", 12)
    older = known.load(profiled[0])
    odd = tuple(f"-{number}" for number in reanchoring.numbers(older.probes)[::3])
    spoilt = [p.model_copy(update={"ms": p.ms * (3 if p.name.endswith(odd) else 1)}) for p in older.probes]
    with local() as connection, pytest.raises(MeasurementError, match="changed differently"):
        reanchored(older.model_copy(update={"probes": tuple(spoilt)}), Progress(), connection)


def test_a_profile_of_another_processor_is_not_corrected(profiled: tuple[Path, Result]) -> None:
    older = known.load(profiled[0])
    other = older.model_copy(update={"machine": {**older.machine, "cpu": "another one"}})
    with local() as connection, pytest.raises(TargetError, match="measured on another one"):
        reanchored(other, Progress(), connection)


def test_a_profile_of_another_version_is_refused(profiled: tuple[Path, Result], tmp_path: Path) -> None:
    older = known.load(profiled[0])
    file = tmp_path / "older.json"
    known.save(older.model_copy(update={"versions": {**older.versions, "onnxruntime": "1.0.0"}}), file)
    with pytest.raises(TargetError, match=r"was measured with onnxruntime 1.0.0, here is .* --reanchor"):
        run(predict.command, str(anchor.FILE), "--profile", str(file))


def test_saving_loses_nothing(profiled: tuple[Path, Result], tmp_path: Path) -> None:
    found = known.load(profiled[0])
    known.save(found, tmp_path / "again.json")
    assert known.load(tmp_path / "again.json") == found
    assert isinstance(found, KernelProfile)


def test_a_model_and_kernels_exclude_each_other() -> None:
    with pytest.raises(UsageError, match="draws its own networks"):
        run(profile.command, "net.onnx", "--kernels")
    with pytest.raises(UsageError, match="no engine was given"):
        run(profile.command)
