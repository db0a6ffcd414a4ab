"""One run for several targets: what is shared is made once, what is a target's own is made for each, none is lost."""

from __future__ import annotations

import json
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from click.testing import CliRunner, Result

from edgekd import bundle, catalogue
from edgekd.artifact import Artifact
from edgekd.cli.commands import compress
from edgekd.distill.stage import DistillStage
from edgekd.distill.store import TeacherStore
from edgekd.errors import EdgekdError, ExportError, UsageError
from edgekd.measure.machine import host_target
from edgekd.pipeline import closing, loop, several
from edgekd.pipeline.request import Request
from edgekd.pipeline.sharing import Finished
from edgekd.pipeline.summary import Summary
from edgekd.report import RunReport
from edgekd.schema import read_json
from edgekd.train import data
from edgekd.train.stage import TeacherStage
from tests.cli.desk import FACTORIES, RECIPE

STAGES = {
    **RECIPE["stages"],
    "distill": {"epochs": 3, "batch": 16, "student": {"factory": "mine:network", "options": {"width": 4}}},
}
HOST = host_target() or ""
LISTED = ("--target", "host", "--target", "jetson-tx2", "--target", "board.yaml")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A user's folder: his factories, a recipe, a board that is not this machine; and a cache of its own."""
    folder = tmp_path_factory.mktemp("several")
    shutil.copy(FACTORIES, folder / "mine.py")
    (folder / "mine.yaml").write_text(yaml.safe_dump({**RECIPE, "stages": STAGES}))
    text = catalogue.find("targets", "x86-avx2").read_text()
    (folder / "board.yaml").write_text(text.replace("name: x86-avx2", "name: board").replace("isa: [", "isa: [sve, "))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("EDGEKD_CACHE", str(folder / "cache"))
        patch.setattr(sys, "path", list(sys.path))
        _forget()
        yield folder
        _forget()


def _forget() -> None:
    sys.modules.pop("mine", None)
    data._load.cache_clear()


def run(*options: str) -> Result:
    command = [*options, "--quiet"]
    return CliRunner().invoke(compress.command, command, catch_exceptions=False, standalone_mode=False)


@dataclass(frozen=True)
class Ended:
    """A run for three targets that has ended, and how often what could be shared was made."""

    folder: Path
    answer: Result
    made: Counter[str]


@pytest.fixture(scope="module")
def ended(place: Path) -> Ended:
    made: Counter[str] = Counter()

    def counted(what: str, work: Callable[..., Any]) -> Callable[..., Any]:
        def counting(*arguments: Any, **options: Any) -> Any:
            made[what] += 1
            return work(*arguments, **options)

        return counting

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TeacherStage, "_trained", counted("teacher", TeacherStage._trained))
        patch.setattr(DistillStage, "run", counted("student", DistillStage.run))
        patch.setattr(TeacherStore, "write", counted("answers", TeacherStore.write))
        answer = run("--recipe", "mine.yaml", "--run-folder", "run", *LISTED)
    return Ended(place / "run", answer, made)


@pytest.fixture
def again(ended: Ended, tmp_path: Path) -> Path:
    """A copy of the run that has ended."""
    return shutil.copytree(ended.folder, tmp_path / "run")


def report(folder: Path) -> RunReport:
    return read_json(RunReport, folder / "run.json")


def test_teacher_answers_and_student_are_made_once(ended: Ended) -> None:
    assert ended.made == {"teacher": 1, "student": 1, "answers": 1}
    first, second = report(ended.folder / HOST), report(ended.folder / "board")
    assert {line.name: line.reused for line in first.stages} == dict.fromkeys(
        ("teacher", "distill", "export", "measure"), False
    )
    taken = {line.name: line.notes["made for"] for line in second.stages if line.reused}
    assert taken == {"teacher": HOST, "distill": HOST}


def test_what_is_taken_over_is_a_copy_with_the_targets_own_origin(ended: Ended) -> None:
    for stage in ("teacher", "distill"):
        own, theirs = (made(ended.folder / name, stage) for name in ("board", HOST))
        assert [a.digest for a in own] == [a.digest for a in theirs]
        assert {f.origin for a in own for f in a.figures} == {"host", "counted"}
        assert {f.origin for a in theirs for f in a.figures} == {"device", "counted"}
        for artifact in own:
            assert (ended.folder / "board" / artifact.path).exists()


def made(folder: Path, stage: str) -> list[Artifact]:
    last = read_json(Finished, next(folder.glob("stages/*-measure/stage.json")))
    return [a for a in last.artifacts.artifacts if a.made_by == stage]


def test_every_target_has_its_bundle_and_its_verdict(ended: Ended) -> None:
    for name in (HOST, "board"):
        assert bundle.verify(ended.folder / name / "bundle").chosen
        assert report(ended.folder / name).target == name
    assert "not on board" in report(ended.folder / "board").verdict.line()


def test_the_summary_tells_all_and_the_worst_exit_code_is_the_runs(ended: Ended) -> None:
    told = read_json(Summary, ended.folder / "summary.json")
    first, refused, second = told.targets
    assert [o.asked for o in told.targets] == ["host", "jetson-tx2", "board.yaml"]
    assert (first.target, first.status in {"met", "not trustworthy"}) == (HOST, True)
    assert (first.bundle, first.result) == (f"{HOST}/bundle", f"{HOST}/run.json")
    assert (refused.status, refused.exit_code, refused.verdict, refused.result) == ("failed", 6, None, None)
    assert (second.target, second.status, second.exit_code) == ("board", "not trustworthy", 5)
    assert ended.answer.return_value == told.exit_code == 6
    lines = ended.answer.stdout.splitlines()
    assert lines == told.lines()
    assert lines[1].startswith("jetson-tx2: failed: jetson-tx2 is predict-only: ")
    assert lines[-1].endswith("; failed: jetson-tx2; exit code 6")


def test_the_same_command_replays_every_verdict(again: Path) -> None:
    before = {name: (again / name / "run.json").read_bytes() for name in (HOST, "board")}
    answer = run(
        "--recipe", "mine.yaml", "--run-folder", str(again), "--json", "--target", HOST, "--target", "board.yaml"
    )
    told = json.loads(answer.stdout)
    assert [o["status"] for o in told["targets"]] == [report(again / name).verdict.status for name in before]
    assert answer.return_value == told["exit_code"] == 5
    assert answer.stderr.splitlines()[-1].endswith("exit code 5")
    assert {name: (again / name / "run.json").read_bytes() for name in before} == before


def test_an_interrupted_run_goes_on_with_what_is_left_and_nothing_is_trained_twice(
    again: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even where the cache is gone: teacher and student lie in the folder of the target that has ended."""
    shutil.rmtree(again / "board" / "stages")
    (again / "board" / "run.json").unlink()
    before = (again / HOST / "run.json").read_bytes()
    monkeypatch.setenv("EDGEKD_CACHE", str(again.parent / "empty"))
    for stage in (TeacherStage, DistillStage):
        monkeypatch.setattr(stage, "run", lambda *_: pytest.fail("it was made before"))
    with monkeypatch.context() as patch:
        patch.setattr(loop, "foresee", lambda *_: None)
        patch.setattr(loop, "_run", _raise(KeyboardInterrupt()))
        with pytest.raises(click.Abort):
            run("--resume", str(again))
    assert not (again / "summary.json").exists()
    answer = run("--resume", str(again))
    assert answer.return_value == 6
    assert (again / HOST / "run.json").read_bytes() == before
    assert {line.name for line in report(again / "board").stages if line.reused} == {"teacher", "distill"}
    assert [o.asked for o in read_json(Summary, again / "summary.json").targets] == ["host", "jetson-tx2", "board.yaml"]


def _raise(error: BaseException) -> Callable[..., Any]:
    def fails(*_: object) -> Any:
        raise error

    return fails


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (ExportError("no such operator"), 7, "failed: no such operator"),
        (UsageError("the teacher\nguesses"), 2, "failed: the teacher guesses"),
        (EdgekdError("a fault"), 1, "failed: a fault"),
        (ZeroDivisionError("oh"), 1, "failed: internal error: ZeroDivisionError: oh"),
    ],
    ids=["export", "usage", "fault", "unforeseen"],
)
def test_a_target_that_fails_leaves_the_others_as_they_are(
    error: Exception, code: int, said: str, again: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (again / HOST / "run.json").unlink()
    monkeypatch.setattr(loop, "foresee", lambda *_: None)
    monkeypatch.setattr(loop, "compress", _raise(error))
    answer = run("--resume", str(again))
    assert answer.return_value == code
    assert answer.stdout.splitlines()[0] == f"{HOST}: {said}"
    assert answer.stdout.splitlines()[2].startswith("board: not trustworthy: ")


def test_all_are_foreseen_before_one_is_worked_at_and_wrong_usage_stops_all(
    again: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (HOST, "board"):
        (again / name / "run.json").unlink()
    seen: list[str] = []

    def foresee(asked: Request, _: object) -> None:
        seen.append(f"foresee {asked.target.name}")
        if asked.target.name == "board":
            raise error

    monkeypatch.setattr(loop, "foresee", foresee)
    monkeypatch.setattr(loop, "compress", lambda asked, _: pytest.fail("before all were foreseen"))
    error: Exception = UsageError("a wrong option")
    with pytest.raises(UsageError, match="a wrong option"):
        run("--resume", str(again))
    assert seen == [f"foresee {HOST}", "foresee board"]
    assert (again / "summary.json").is_file()
    error = ExportError("its runtime refuses it")
    monkeypatch.setattr(loop, "compress", _raise(ExportError(HOST)))
    answer = run("--resume", str(again))
    assert answer.stdout.splitlines()[-1] == f"failed: {HOST}, jetson-tx2, board; exit code 7"


def test_a_device_that_does_not_answer_is_the_outcome_of_its_target(again: Path) -> None:
    answer = run("--resume", str(again), "--device", "board=nobody@127.0.0.1:9")
    first, _, second = read_json(Summary, again / "summary.json").targets
    assert (first.status, second.status, second.exit_code) == (report(again / HOST).verdict.status, "failed", 6)
    assert answer.return_value == 6


def test_what_is_left_to_do_renews_the_summary_too(place: Path) -> None:
    wanted = several.wanted(["host", "jetson"], [])
    part = several.resolve("mine.yaml", wanted, Path("a run"), ()).requests[1]
    assert closing._left_to_do(part) == "edgekd compress --resume 'a run' --device jetson-orin-nano=user@host"


def test_one_target_of_a_run_of_several_is_a_run_like_any_other(again: Path) -> None:
    answer = run("--resume", str(again / HOST))
    assert answer.stdout.splitlines() == [report(again / HOST).verdict.line()]
