"""The search on tiny networks: real engines are built and measured, three processes each."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from edgekd.artifact import ArtifactSet
from edgekd.errors import BudgetError, EdgekdError, UsageError
from edgekd.profile import Profile
from edgekd.quantize import drafts
from edgekd.recipe import ModelSpec
from edgekd.schema import read_json
from edgekd.search.choice import Feasibility
from edgekd.search.stage import SearchStage
from edgekd.stage import Context
from tests.distill.tiny_run import context

TEACHER = {"name": "resnet", "options": {"depth": 14, "channels": [16, 32, 64]}}
OPTIONS = {"probes": 1, "processes": 1, "space_options": {"depths": [8], "multipliers": [0.5, 1], "growths": [1]}}


def run_in(root: Path, stage: str = "02-search", **changes: object) -> Context:
    plain = {"model": TEACHER, "stages": {"search": {}, "distill": {}, "quantize": {}}}
    return context(root, stage, **{**plain, **changes})


def searched(run: Context, **options: object) -> ArtifactSet:
    stage = SearchStage(SearchStage.Config.model_validate({**OPTIONS, **options}))
    stage.requires(ArtifactSet(), run)
    done = stage.run(ArtifactSet(), run)
    stage.ensures(done, run)
    return done


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("search")


@pytest.fixture(scope="module")
def done(root: Path) -> ArtifactSet:
    return searched(run_in(root))


def test_every_engine_that_may_ship_is_measured_with_its_kernels(done: ArtifactSet, root: Path) -> None:
    profile = read_json(Profile, run_in(root).path(done.newest(network="probes", written_as="profile")))
    keys = {(r.scheme, r.runtime) for r in profile.records if r.network == "teacher"}
    assert keys == {(scheme, runtime) for scheme in ("fp32", "u8w8") for runtime in ("openvino", "onnxruntime")}
    assert len(profile.records) == 8
    for record in profile.records:
        assert record.kernels
        figure = record.figure("latency_ms_p90")
        assert figure is not None
        assert figure.origin == "device"


def test_hands_over_a_choice_and_the_table_it_rests_on(done: ArtifactSet, root: Path) -> None:
    run = run_in(root)
    choice = done.newest(network="distilled", written_as="choice")
    spec = read_json(ModelSpec, run.path(choice))
    assert spec.name == "resnet"
    assert choice.figures[0].origin == "predicted"
    table = read_json(Feasibility, run.folder / "feasibility.json")
    assert table.rows[-1].spec == spec
    assert table.text() == done.newest(network="probes").notes["feasibility"]


def test_the_next_round_chooses_again_without_measuring(
    done: ArtifactSet, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError

    monkeypatch.setattr(drafts, "measure", refuse)
    first = read_json(Feasibility, run_in(root).folder / "feasibility.json")
    again = replace(run_in(root, "07-search"), correction=2.0)
    searched(again)
    second = read_json(Feasibility, again.folder / "feasibility.json")
    assert second.rows[0].latency.value == pytest.approx(2 * first.rows[0].latency.value)
    with pytest.raises(AssertionError):
        searched(run_in(root, "08-search"), processes=2)


def test_student_teacher_is_no_choice(done: ArtifactSet, root: Path) -> None:
    found = searched(run_in(root, "09-search", budget={}), student="teacher")
    assert [artifact.key for artifact in found.artifacts] == ["probes/fp32/profile"]


def test_auto_needs_a_latency_limit(root: Path) -> None:
    with pytest.raises(UsageError, match="needs latency_ms or latency_ratio"):
        searched(run_in(root, "10-search", budget={"size_mb": 1}))


def test_an_unknown_space_is_refused_early(root: Path) -> None:
    with pytest.raises(EdgekdError, match="unknown name 'resnets' in spaces; did you mean 'resnet'"):
        searched(run_in(root, "11-search"), space="resnets")


def test_out_of_reach_ends_the_run_with_the_table(done: ArtifactSet, root: Path) -> None:
    with pytest.raises(
        BudgetError, match=r"limit of 1e-06 ms is out of reach: .*\(predicted\) ms, so nothing"
    ) as caught:
        searched(run_in(root, "12-search", budget={"latency_ms": 1e-6}))
    assert [line.split(" (")[0] for line in caught.value.__notes__[0].splitlines()[1:]] == [
        *("  smallest", "  middle", "  teacher", "  chosen")
    ]
    with pytest.raises(BudgetError):
        searched(run_in(root, "13-search", budget={"latency_ms": 1e-6}), student="teacher")


@pytest.mark.parametrize("why", ["a round has measured", "another machine", "a named student", "not beyond doubt"])
def test_out_of_reach_is_a_note_where_no_prediction_proves_it(why: str, done: ArtifactSet, root: Path) -> None:
    table = read_json(Feasibility, run_in(root).folder / "feasibility.json")
    limit = table.rows[0].latency.value / 1.02 if why == "not beyond doubt" else 1e-6
    stages = {"search": {}, "distill": {}, "quantize": {}}
    if why == "a named student":
        stages["distill"] = {"student": {"name": "resnet"}}
    run = run_in(root, "14-search", budget={"latency_ms": limit}, stages=stages)
    changes = {"a round has measured": {"round": 1}, "another machine": {"origin_is_device": False}}
    found = searched(replace(run, **changes.get(why, {})))
    assert "out of reach" in found.newest(network="probes").notes
    assert found.newest(written_as="choice")


def test_probes_are_measured_once_for_any_limit(done: ArtifactSet, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError

    monkeypatch.setattr(drafts, "measure", refuse)
    folder = run_in(root, "15-search").folder
    searched(run_in(root, "15-search"))
    shutil.rmtree(folder)  # as the runner does where another limit makes it another stage
    searched(run_in(root, "15-search", budget={"latency_ratio": 0.4}))
