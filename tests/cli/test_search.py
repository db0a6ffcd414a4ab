"""`edgekd search`: a recipe up to its choice, in the run folder that `compress` goes on in; the front, drawn."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from edgekd.cli.commands import search as subject
from edgekd.errors import UsageError
from edgekd.measure.machine import host_target
from edgekd.pipeline.searching import FILE, Found
from edgekd.schema import read_json
from tests.conftest import Run

HOST = str(host_target())
TRIALS = ("--set", "stages.trials={count: 2, epochs: 1, batch: 64, losses: {}}")


def searched(folder: Path, *options: str) -> Result:
    command = ["--recipe", "smoke", "--run-folder", str(folder), "--quiet", *options]
    return CliRunner().invoke(subject.command, command, catch_exceptions=False, standalone_mode=False)


@pytest.fixture(scope="module")
def folder(smoke: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run, to be looked at by the search alone: nothing is measured or trained for it."""
    copy = tmp_path_factory.mktemp("search") / "run"
    shutil.copytree(smoke.folder, copy)
    return copy


@pytest.fixture(scope="module")
def tried(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    """The same with trials, in a folder of its own: another recipe."""
    copy = tmp_path_factory.mktemp("trials") / "run"
    shutil.copytree(folder, copy)
    return copy, searched(copy, *TRIALS, "--plot", str(copy / "plots" / "front.svg"))


def test_a_finished_run_keeps_its_verdict_and_tells_its_choice(folder: Path) -> None:
    before = (folder / "run.json").read_bytes()
    answer = searched(folder)
    assert answer.return_value == 0
    assert (folder / "run.json").read_bytes() == before
    found = read_json(Found, folder / FILE)
    lines = answer.stdout.splitlines()
    assert lines[0].startswith("feasibility")
    assert lines[-1] == found.why
    choice = json.loads(next(folder.glob("stages/*-search/choice.json")).read_text())
    assert found.chosen.plain() == choice
    assert found.trials is None
    assert found.front == ()


def test_json_is_what_the_run_folder_keeps(folder: Path) -> None:
    answer = searched(folder, "--json")
    assert json.loads(answer.stdout) == json.loads((folder / FILE).read_text())


def test_the_front_holds_what_no_other_trial_beats(tried: tuple[Path, Result]) -> None:
    folder, answer = tried
    assert answer.return_value == 0
    found = read_json(Found, folder / FILE)
    assert found.trials is not None
    at = [(one.row.latency.value, one.score.error_percent) for one in found.trials.trials]
    assert len(at) == 2
    beaten = {
        k for k, one in enumerate(at) for other in at if other != one and other[0] <= one[0] and other[1] <= one[1]
    }
    assert set(found.front) == set(range(2)) - beaten
    assert found.chosen == found.trials.trials[found.trials.chosen].score.spec
    assert sum("% right: tried" in line for line in answer.stdout.splitlines()) == len(found.front)
    assert not (folder / "run.json").exists()  # of the recipe without trials


def test_the_picture_shows_front_choice_and_limit(tried: tuple[Path, Result]) -> None:
    drawn = (tried[0] / "plots" / "front.svg").read_text()
    assert drawn.startswith("<?xml")
    assert "</svg>" in drawn


def test_what_cannot_be_drawn_or_chosen_is_refused_before_anything_runs(tmp_path: Path) -> None:
    for options, said in (
        (("--plot", "front.txt", *TRIALS), "must end in .svg, .png, .pdf"),
        (("--plot", "front.svg"), "add the stage 'trials'"),
        (("--set", "stages.search.student=teacher"), "nothing is chosen"),
    ):
        with pytest.raises(UsageError, match=said):
            searched(tmp_path / "run", *options)
    assert not (tmp_path / "run").exists()


def test_several_targets_have_a_choice_each(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "run" / HOST)
    command = ("--target", "host", "--target", "jetson-tx2")
    answer = searched(tmp_path / "run", *command)
    assert answer.return_value == 6
    *_, chosen, refused, last = answer.stdout.splitlines()
    assert chosen == f"{HOST}: chosen: {read_json(Found, tmp_path / 'run' / HOST / FILE).why}"
    assert refused.startswith("jetson-tx2: failed: jetson-tx2 is predict-only")
    assert last == f"chosen: {HOST}; failed: jetson-tx2; exit code 6"
    assert json.loads((tmp_path / "run" / FILE).read_text())["targets"][0]["result"] == f"{HOST}/{FILE}"
    with pytest.raises(UsageError, match="--plot draws the front of one target"):
        searched(tmp_path / "run", *command, *TRIALS, "--plot", "front.svg")
