"""What is wrong with a list of targets is one sentence and exit code 2, before anything is trained or written."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgekd.measure.machine import host_target
from tests.cli.desk import Desk, refused, stages

HOST = str(host_target())
TWO = ("--target", "host", "--target", "jetson")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--target", "host", "--target", "jetson", "--target", "host"), "--target host is given twice"),
        (("--target", "host", "--target", "jetsn"), "unknown target 'jetsn'; did you mean 'jetson'"),
        (
            ("--target", "host", "--target", HOST),
            f"host and {HOST} would both be kept in run/{HOST}; leave one of them",
        ),
        ((*TWO, "--device", "pi@board"), "--device pi@board: .*say whose it is: --device TARGET=pi@board"),
        ((*TWO, "--device", "jetsn=pi@board"), "--device jetsn=pi@board: no such target here; did you mean 'jetson'"),
        ((*TWO, "--device", "host=a@b", "--device", "host=a@c"), "--device is given twice for host"),
        (("--target", "host", "--device", "a@b", "--device", "a@c"), "--device is given 2 times; one target"),
        ((*TWO, "--device", "jetson="), "'' is no device"),
    ],
)
@pytest.mark.parametrize("command", ["compress", "search"])
def test_a_wrong_list_is_refused(command: str, options: tuple[str, ...], sentence: str, desk: Desk) -> None:
    refused(desk.give(command, "--recipe", "mine.yaml", "--run-folder", "run", "--quiet", *options), 2, sentence)
    assert not (desk.folder / "run").exists()


def test_a_wrong_recipe_is_told_once_and_not_for_every_target(desk: Desk) -> None:
    refused(desk.compress(*TWO, "--set", "stages.measure.procesess=3"), 2, "did you mean 'processes'")
    assert not list((desk.folder / "run").glob("[!.]*"))


def test_names_that_differ_in_case_alone_share_a_folder(desk: Desk) -> None:
    text = (Path(__file__).parents[2] / "targets" / "x86-avx2.yaml").read_text()
    for name in ("board", "Board", "summary.json"):
        (desk.folder / f"{name}.yaml").write_text(text.replace("name: x86-avx2", f"name: {name}"))
    refused(desk.compress("--target", "board.yaml", "--target", "Board.yaml"), 2, r"would both be kept in run/Board")
    refused(desk.compress("--target", "host", "--target", "summary.json.yaml"), 2, r"the run's own file summary.json")


def test_one_folder_holds_a_run_of_one_target_or_of_several(held: Desk) -> None:
    before = held.state()
    refused(held.compress(*TWO), 2, "run holds a run of one target, so several have no place there")
    assert held.state() == before
    (held.folder / "other").mkdir()
    (held.folder / "other" / "targets.json").write_text("{}")
    held.recipe(
        **stages(search={"student": "teacher", "probes": 1, "processes": 1})
    )  # with it no engine is built early
    answer = held.give("compress", "--recipe", "mine.yaml", "--run-folder", "other", "--quiet")
    refused(answer, 2, "other holds a run of several targets; give another --run-folder")
    refused(held.give("compress", "--resume", "other"), 2, r"targets\.json.*key 'targets' is missing")
    refused(held.give("compress", "--resume", "other", *TWO), 2, "give neither target, folder nor options")
    refused(held.give("compress", "--resume", "other", "--workers", "0"), 2, "give neither target, folder nor options")


def test_a_dry_run_plans_every_target(desk: Desk) -> None:
    answer = desk.give("compress", "--recipe", "mine.yaml", *TWO, "--target", "jetson-tx2", "--dry-run")
    assert answer.code == 6
    assert answer.out.count("run folder: runs/mine/") == 2
    assert "jetson-tx2: failed: jetson-tx2 is predict-only" in answer.out
    assert not (desk.folder / "runs").exists()
