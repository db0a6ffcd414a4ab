"""`--device` of the commands that measure: the figures are the device's, whatever this machine is."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from edgekd.cli.main import cli
from edgekd.errors import TargetError, UsageError
from edgekd.measure.meter import METERS
from edgekd.profile import Profile
from edgekd.schema import read_json
from tests.connection import sshd
from tests.connection.boards import board
from tests.measure.tiny_engines import CLASSES, SHAPE, write_onnx, write_openvino

pytestmark = pytest.mark.skipif(sshd.PROGRAM is None, reason="no sshd here: install the package openssh-server")


def edgekd(*arguments: str) -> Result:
    return CliRunner().invoke(cli, arguments, catch_exceptions=False, standalone_mode=False)


@pytest.fixture(scope="module", autouse=True)
def _folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    here = tmp_path_factory.mktemp("job")
    write_openvino(write_onnx(here / "new.onnx", seed=1), here / "new")
    write_onnx(here / "old.onnx", seed=2)
    random = np.random.default_rng(0)
    inputs = random.standard_normal((40, *SHAPE)).astype(np.float32)
    np.savez(here / "data.npz", inputs=inputs, labels=random.integers(0, CLASSES, 40))
    with board(tmp_path_factory.mktemp("board"), "my-board", "raspberry-pi-4"), pytest.MonkeyPatch.context() as patch:
        patch.chdir(here)
        patch.setenv("EDGEKD_CACHE", str(here / "cache"))
        yield


def test_a_gate_is_held_there() -> None:
    limits = ("--max-size-mb", "1", "--max-accuracy-drop", "100")
    given = ("gate", "new.onnx", "--baseline", "old.onnx", "--data", "data.npz", *limits, "--json", "--quiet")
    answer = edgekd(*given, "--device", "board")
    told = json.loads(answer.stdout)
    assert {check["limit_name"]: check["status"] for check in told["verdict"]["checks"]} == dict.fromkeys(
        ["size_mb", "accuracy_drop"], "met"
    )
    assert told["machine"]["machine"] == "aarch64"


def test_engines_answer_there_as_here() -> None:
    evaluated = edgekd("eval", "new", "--data", "data.npz", "--device", "board", "--json", "--quiet")
    here = edgekd("eval", "new", "--data", "data.npz", "--json", "--quiet")
    assert json.loads(evaluated.stdout) == json.loads(here.stdout)


def test_a_profile_is_of_the_target_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(METERS, "names", lambda: ["latency", "size"])
    answer = edgekd("profile", "new.onnx", "--device", "board", "--processes", "2", "--raw", "raw", "--quiet")
    assert " on my-board: p90 is " in answer.stdout.splitlines()[-1]
    profile = read_json(Profile, Path("raw/profile.json"))
    assert (profile.target, profile.origin, profile.machine["machine"]) == ("my-board", "device", "aarch64")
    assert profile.records[0].layers
    with pytest.raises(TargetError, match="x86-avx2 is not the device board, which is my-board"):
        edgekd("profile", "new.onnx", "--target", "x86-avx2", "--device", "board")
    with pytest.raises(TargetError, match="x86-avx2 is not the device board, which is my-board"):
        edgekd("profile", "--kernels", "--target", "x86-avx2", "--device", "board")


def test_a_runtime_the_device_lacks_is_told() -> None:
    with pytest.raises(UsageError, match="unknown runtime 'tensorrt'"):
        edgekd("gate", "new.onnx", "--max-size-mb", "1", "--runtime", "tensorrt", "--device", "board")
