"""A run whose device is not here: everything but the engine, a prediction, and the command that ends it."""

from __future__ import annotations

import json
from pathlib import Path

import onnx
import pytest
from click.testing import CliRunner, Result
from onnx import TensorProto, numpy_helper

from edgekd import bundle
from edgekd.cli.commands import compress
from edgekd.errors import ExitCode, TargetError, UsageError
from edgekd.profile import Profile
from edgekd.schema import read_json

QUICK = (
    *("--set", "stages.teacher.epochs=1", "--set", "budget.accuracy_drop=95"),
    *("--set", "budget.peak_memory_mb=64", "--set", "stages.prune.recovery.epochs=1"),
)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(compress.command, arguments, catch_exceptions=False, standalone_mode=False)


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    folder = tmp_path_factory.mktemp("elsewhere") / "run"
    return folder, run("--smoke", "--target", "jetson", "--run-folder", str(folder), "--quiet", *QUICK)


def test_it_ends_not_trustworthy_and_says_what_is_left_to_do(ended: tuple[Path, Result]) -> None:
    folder, answer = ended
    assert answer.return_value == ExitCode.NOT_TRUSTWORTHY
    *_, left, verdict = answer.stdout.splitlines()
    assert verdict.startswith("not trustworthy: ")
    assert "not measured on the device: latency is predicted for jetson-orin-nano" in verdict
    assert "peak_memory_mb is known on the device only" in verdict
    assert left == f"left to do: edgekd compress --resume {folder} --device user@host"
    told = json.loads((folder / "run.json").read_text())
    assert told["verdict"]["exit_code"] == 5
    assert (told["target"], told["target_resolved_from"]) == ("jetson-orin-nano", "jetson")


def test_no_figure_claims_to_be_the_devices(ended: tuple[Path, Result]) -> None:
    folder, _ = ended
    profile = read_json(Profile, folder / "profile.json")
    assert profile.origin == "predicted"
    assert {(r.scheme, r.runtime) for r in profile.records} == {("fp16", "tensorrt"), ("s8", "tensorrt")}
    origins = {figure.name: figure.origin for record in profile.records for figure in record.figures}
    assert origins["latency_ms_p90"] == origins["share_of_teacher"] == "predicted"
    assert origins["accuracy_percent"] == "host"
    assert origins["size_mb"] == "counted"
    for record in profile.records:
        latency = record.figure("latency_ms_p90")
        assert latency is not None
        assert latency.lower is not None
        assert latency.upper is not None
        assert latency.lower < latency.value < latency.upper
    report = (folder / "report.md").read_text()
    assert "(predicted)" in report
    assert f"edgekd compress --resume {folder} --device user@host" in report


def test_the_bundle_holds_what_tensorrt_builds_from(ended: tuple[Path, Result]) -> None:
    folder, _ = ended
    manifest = bundle.verify(folder / "bundle")
    assert set(manifest.variants) == {"fp16", "s8"}
    assert not manifest.engines["tensorrt"].built
    integers = onnx.load(folder / "bundle" / manifest.variants["s8"].onnx).graph
    constants = {tensor.name: tensor for tensor in integers.initializer}
    quantizers = [node for node in integers.node if node.op_type == "QuantizeLinear"]
    assert quantizers
    for node in quantizers:
        zero = constants[node.input[2]]
        assert zero.data_type == TensorProto.INT8
        assert not numpy_helper.to_array(zero).any()
    half = onnx.load(folder / "bundle" / manifest.variants["fp16"].onnx).graph
    assert {t.data_type for t in half.initializer if len(t.dims) > 1} == {TensorProto.FLOAT16}


def test_it_is_taken_up_again_by_its_folder(ended: tuple[Path, Result]) -> None:
    folder, answer = ended
    again = run("--resume", str(folder), "--quiet")
    assert again.return_value == ExitCode.NOT_TRUSTWORTHY
    assert again.stdout.splitlines()[-1] == answer.stdout.splitlines()[-1]


def test_a_folder_without_a_run_and_options_beside_it_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no run was begun there"):
        run("--resume", str(tmp_path))
    with pytest.raises(UsageError, match="--resume goes on with a run as it was begun"):
        run("--resume", str(tmp_path), "--target", "jetson")


def test_a_board_nothing_is_built_for_is_refused_with_what_is_possible() -> None:
    with pytest.raises(TargetError, match=r"jetson-tx2 is predict-only: .* edgekd predict MODEL --target jetson-tx2"):
        run("--smoke", "--target", "jetson-tx2")


def test_a_target_nobody_can_say_anything_of_is_refused_before_training(tmp_path: Path) -> None:
    with pytest.raises(TargetError, match="no kernel profile of nvidia-gpu is known, nor what its datasheet says"):
        run("--smoke", "--target", "nvidia-gpu", "--run-folder", str(tmp_path / "run"), "--quiet")
