"""A run whose device is not there at first, then there, then gone in the middle, and there again."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from edgekd import bundle
from edgekd.artifact import Artifact
from edgekd.connection.device import named
from edgekd.connection.ssh import remote
from edgekd.errors import ExitCode, TargetError
from edgekd.measure.turns import Round
from edgekd.pipeline.sharing import Finished
from edgekd.profile import Profile
from edgekd.schema import read_json
from tests.connection import sshd
from tests.connection.boards import QUICK, board, run
from tests.connection.sshd import Sshd

pytestmark = pytest.mark.skipif(sshd.PROGRAM is None, reason="no sshd here: install the package openssh-server")

KEPT = ("search", "teacher", "distill", "prune", "quantize")


@dataclass
class Story:
    """What was seen, in the order it happened."""

    folder: Path
    without: Result
    predicted: dict[str, Any]
    lost: str
    before: bytes
    ended: Result
    served: Sshd


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    with board(tmp_path_factory.mktemp("board"), "my-board", "raspberry-pi-4") as server:
        yield server


@pytest.fixture(scope="module")
def story(served: Sshd, tmp_path_factory: pytest.TempPathFactory) -> Story:
    folder = tmp_path_factory.mktemp("device") / "run"
    without = run("--smoke", "--target", "my-board", "--run-folder", str(folder), *QUICK)
    predicted = json.loads((folder / "run.json").read_text())
    once = Round.run

    def rebooting(self: Round, number: int, blocks: int) -> list[dict[str, Any]]:
        if number == 2:
            served.reboot()
        return once(self, number, blocks)

    again = ("--resume", str(folder), "--device", "board")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Round, "run", rebooting)
        with pytest.raises(TargetError) as caught:
            run(*again)
    before = (folder / "measurements" / "measure-0.jsonl").read_bytes()
    served.back()
    return Story(folder, without, predicted, str(caught.value), before, run(*again), served)


def made(folder: Path) -> dict[str, list[Artifact]]:
    """Return by stage what it has made."""
    found = [read_json(Finished, record) for record in sorted(folder.glob("stages/*/stage.json"))]
    artifacts = found[-1].artifacts.artifacts
    return {stage: [a for a in artifacts if a.made_by == stage] for stage in {a.made_by for a in artifacts}}


def test_without_the_device_the_one_command_that_is_left_is_printed(story: Story) -> None:
    assert story.without.return_value == ExitCode.NOT_TRUSTWORTHY
    left = f"left to do: edgekd compress --resume {story.folder} --device user@host"
    assert left in story.without.stdout.splitlines()
    assert story.predicted["target"] == "my-board"


def test_a_device_that_reboots_is_told_and_loses_nothing(story: Story) -> None:
    assert story.lost.startswith("the device board ")
    assert "\n" not in story.lost
    rounds = [json.loads(line) for line in story.before.splitlines()]
    assert {line["round"] for line in rounds if line["kind"] == "process"} == {0, 1}
    assert (story.folder / "measurements" / "measure-0.jsonl").read_bytes().startswith(story.before)


def test_nothing_is_trained_again(story: Story) -> None:
    told = json.loads((story.folder / "run.json").read_text())
    reused = {line["name"]: line["reused"] for line in told["stages"]}
    assert reused == {**dict.fromkeys(KEPT, True), "export": True, "measure": False}  # proved before the reboot


def test_the_figures_are_the_devices(story: Story) -> None:
    assert story.ended.return_value != ExitCode.TARGET
    told = json.loads((story.folder / "run.json").read_text())
    assert told["unfinished"] is None
    assert "not measured on the device" not in story.ended.stdout
    profile = read_json(Profile, story.folder / "profile.json")
    assert (profile.target, profile.origin, profile.machine["machine"]) == ("my-board", "device", "aarch64")
    for record in profile.records:
        assert {f.origin for f in record.figures if f.name != "size_mb"} == {"device"}
    assert {record.runtime for record in profile.records} == {"onnxruntime"}
    assert json.loads((story.folder / "environment.json").read_text())["device"]["machine"] == "aarch64"
    exported = made(story.folder)["export"]
    assert {f.origin for a in exported for f in a.figures if f.name.startswith("logit")} == {"device"}
    trained = made(story.folder)["distill"]
    assert {f.origin for a in trained for f in a.figures if f.name == "accuracy_percent"} == {"host"}


def test_what_was_computed_here_does_not_pass_for_the_devices_answers(story: Story) -> None:
    answers = sorted(path.stem for path in (story.folder / "test").glob("*-onnxruntime-*.npy"))
    here = [stem for stem in answers if stem.endswith("-reference")]
    assert len(here) == 2  # the chosen engine and the teacher's, while the device was not there
    again = {stem.rpartition("-")[0] for stem in answers if stem not in here}
    both = again & {stem.rpartition("-")[0] for stem in here}
    assert any(stem.startswith("teacher-") for stem in both)  # which other one is chosen is the machine's


def test_the_bundle_holds_the_built_engine(story: Story) -> None:
    manifest = bundle.verify(story.folder / "bundle")
    assert manifest.target == "my-board"
    assert all(engine.built for engine in manifest.engines.values())


def test_nothing_is_left_on_the_device_but_by_the_run_that_was_cut_off(story: Story) -> None:
    assert len(list((story.served.cache / "edgekd" / "sessions").iterdir())) == 1
    (left,) = (story.served.cache / "edgekd" / "sessions").iterdir()
    os.utime(left, (0, 0))
    with remote(named("board")):
        pass
    assert not left.exists()


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("x86-vnni", "the device board is aarch64, and x86-vnni is x86_64; it is my-board: give --target my-board"),
        ("jetson", "the device board has no GPU of NVIDIA's, or no driver for it, and jetson-orin-nano needs one"),
    ],
)
def test_a_device_that_is_not_the_target_is_refused(served: Sshd, tmp_path: Path, target: str, said: str) -> None:
    with pytest.raises(TargetError) as caught:
        run("--smoke", "--target", target, "--device", "board", "--run-folder", str(tmp_path / "run"))
    assert str(caught.value).startswith(said)
    assert not (tmp_path / "run").exists()
