"""Trials on tiny networks: students are really trained; the probes are a profile somebody else has measured."""

from __future__ import annotations

import logging
import math
import multiprocessing
import os
import shutil
import signal
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from edgekd import cache
from edgekd.artifact import ArtifactSet
from edgekd.errors import UsageError
from edgekd.pipeline.stages import configured
from edgekd.recipe import ModelSpec
from edgekd.schema import read_json
from edgekd.search import bank, trials
from edgekd.search.course import Score
from edgekd.search.sampler import Sampler
from edgekd.search.space import Point
from edgekd.search.trials import TrialsConfig, TrialsStage
from edgekd.search.tried import Trials
from edgekd.stage import Context
from tests.distill.tiny_run import context, with_teacher
from tests.search.measured import probes

TEACHER = {"name": "resnet", "options": {"depth": 8, "channels": [16, 32, 48]}}
SEARCH = {"space_options": {"depths": [8], "multipliers": [0.25, 0.5, 1.0], "growths": [1.0, 1.5, 2.0]}, "margin": 1}
WIDTHS = {"step": 1, "depths": [8], "multipliers": [0.25, 0.4, 0.5, 0.65, 0.8, 1.0], "growths": [0.8, 1.0, 1.2]}
WIDE = {**SEARCH, "space_options": WIDTHS}
TRIALS = {"count": 3, "epochs": 2, "batch": 32, "learning_rate": 0.05, "losses": {}}


def run_in(root: Path, stage: str, limit: float = 1.0, **stages: object) -> Context:
    plain = {"search": SEARCH, "teacher": {}, "trials": TRIALS, "distill": {}, **stages}
    return context(root, stage, model=TEACHER, stages=plain, budget={"latency_ratio": limit})


def tried(run: Context, artifacts: ArtifactSet, **options: object) -> tuple[Trials, ModelSpec, ArtifactSet]:
    stage = TrialsStage(TrialsStage.Config.model_validate({**TRIALS, **options}))
    stage.requires(artifacts, run)
    done = stage.run(artifacts, run)
    choice = read_json(ModelSpec, run.path(done.newest(written_as="choice")))
    return read_json(Trials, run.folder / "trials.json"), choice, done


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("trials")


@pytest.fixture(scope="module")
def first(root: Path) -> tuple[Trials, ModelSpec, ArtifactSet]:
    run = run_in(root, "trials-1")
    return tried(run, probes(run))


def by_width(spec: ModelSpec, *_: object) -> Score:
    """Score a network without training it: a narrow one does well."""
    return Score(spec=spec, error_percent=sum(spec.options["channels"]) / 10, images=1)


def refuse(*_: object, **__: object) -> None:
    raise AssertionError


def test_the_most_accurate_of_those_tried_is_chosen(first: tuple[Trials, ModelSpec, ArtifactSet]) -> None:
    table, choice, done = first
    errors = [one.score.error_percent for one in table.trials]
    assert len(table.trials) == len({one.score.spec.model_dump_json() for one in table.trials}) == 3
    assert errors[table.chosen] == min(errors)
    assert choice == table.trials[table.chosen].score.spec
    assert all(one.row.fits and one.score.images == 2 * 256 for one in table.trials)
    artifact = done.newest(written_as="choice")
    assert artifact.made_by == "trials"
    assert artifact.figures[0].origin == "predicted"
    assert "3 of" in artifact.notes["choice"]


def test_what_the_search_would_have_chosen_is_tried_first(first: tuple[Trials, ModelSpec, ArtifactSet]) -> None:
    table, _, _ = first
    assert table.trials[0].row.macs == max(one.row.macs for one in table.trials)


def test_a_corrected_prediction_trains_nobody_anew(
    first: tuple[Trials, ModelSpec, ArtifactSet], root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    again = run_in(root, "trials-2")
    monkeypatch.setattr(trials, "teach", refuse)
    assert tried(again, probes(again))[0] == first[0]
    with pytest.raises(AssertionError):
        tried(again, probes(again), epochs=3)
    most = first[0].trials[0].row
    least = min(one.row.latency.value for one in first[0].trials) / most.latency.value
    slower = replace(run_in(root, "trials-8", limit=least * 1.02 * 2), correction=2.0)
    table, choice, _ = tried(slower, probes(slower), count=1)
    assert choice != most.spec
    assert table.trials[0].row.latency.value <= 2 * most.latency.value


def test_the_front_is_looked_for_by_latency_and_error(
    first: tuple[Trials, ModelSpec, ArtifactSet], root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[tuple[float, ...]] = []
    tell = Sampler.tell

    def noticed(self: Sampler, point: Point, costs: Sequence[float]) -> None:
        told.append(tuple(costs))
        tell(self, point, costs)

    monkeypatch.setattr(Sampler, "tell", noticed)
    run = run_in(root, "trials-9")
    table, choice, _ = tried(run, probes(run), front=True)
    assert [(math.log(one.row.latency.value), one.score.error_percent) for one in table.trials] == told
    assert choice == table.trials[table.chosen].score.spec
    assert table.chosen in table.front
    with pytest.raises(UsageError, match="startup = 1"):
        tried(run, probes(run), front=True, sampler="sms-ego", sampler_options={"startup": 1})


def test_every_score_is_a_row_of_the_bank_and_no_latency_is(
    first: tuple[Trials, ModelSpec, ArtifactSet], root: Path
) -> None:
    run = run_in(root, "trials-11")
    another = trials.task_of(probes(run), run, TrialsConfig.model_validate({**TRIALS, "epochs": 7}))
    rows = {bank.network(row.score.spec): row for row in bank.earlier(run.cache, another) if row.task.epochs == 2}
    for one in first[0].trials:
        assert rows[bank.network(one.score.spec)].score == one.score.worth
    task = next(iter(rows.values())).task
    assert (task.name, task.classes, task.input_shape, task.samples) == ("quadrants", 4, (1, 12, 12), 256)
    assert all("latency" not in row.model_dump_json() for row in rows.values())


def test_a_task_is_all_that_a_score_depends_on_besides_the_network(root: Path) -> None:
    run = run_in(root, "trials-12")
    artifacts = probes(run)

    def key(run: Context, **options: object) -> str:
        return trials.task_of(artifacts, run, TrialsConfig.model_validate({**TRIALS, **options})).key

    assert key(run) == key(run, count=9, sampler="evolution", workers=2, front=True, warm_start=True)
    assert key(run) == key(run_in(root, "trials-13", limit=0.5))
    others = [key(run, epochs=3), key(run, batch=16), key(replace(run, recipe=run.recipe.replace(seed=1)))]
    assert len({key(run), *others}) == 4


@pytest.mark.parametrize("front", [False, True])
def test_a_warm_start_begins_where_another_task_did_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, front: bool
) -> None:
    monkeypatch.setattr(trials, "score_of", by_width)
    earlier = run_in(tmp_path, "trials-1", search=WIDE)
    tried(earlier, probes(earlier), count=100, epochs=1)
    cold, warm = (run_in(tmp_path, name, search=WIDE) for name in ("trials-2", "trials-3"))
    found = [tried(run, probes(run), count=6, warm_start=run is warm, front=front)[0] for run in (cold, warm)]
    assert [table.earlier for table in found] == [0, 1]
    assert "begun from 1 earlier task)" in found[1].text()
    assert found[0].trials[0] == found[1].trials[0], "the largest is tried first in any case"
    errors = [sum(one.score.error_percent for one in table.trials[1:]) for table in found]
    assert errors[1] < 0.9 * errors[0]
    assert not (cold.folder / "bank.json").exists()


def test_networks_that_do_not_fit_here_say_something_of_those_that_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trials, "score_of", by_width)
    earlier = run_in(tmp_path, "trials-1", search=WIDE)
    rows = tried(earlier, probes(earlier), count=100, epochs=1)[0].trials
    small = sorted(rows, key=lambda one: one.row.latency.value)[len(rows) // 3].row.latency.value
    for kept in (earlier.cache / "bank").glob("*/*.json"):
        score = read_json(bank.Row, kept).score
        if next(one for one in rows if one.score.spec == score.spec).row.latency.value <= small:
            kept.unlink()
    here = run_in(tmp_path, "trials-2", search=WIDE, limit=small / max(one.row.latency.value for one in rows))
    table = tried(here, probes(here), count=6, warm_start=True)[0]
    assert table.earlier == 1
    fitting = [one.score.error_percent for one in rows if one.row.latency.value <= small]
    assert min(one.score.error_percent for one in table.trials[1:3]) == min(fitting), "two of eight are foretold"


def test_a_warm_search_that_was_killed_is_told_by_the_bank_what_it_was_told(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trials, "score_of", by_width)
    run = run_in(tmp_path, "trials-1")
    tried(run, probes(run), count=100, epochs=1)
    whole = run_in(tmp_path, "trials-2")
    expected = tried(whole, probes(whole), count=6, warm_start=True, epochs=2)[0]
    killed, scored = run_in(tmp_path, "trials-3"), list[ModelSpec]()

    def until_the_third(spec: ModelSpec, *rest: object) -> Score:
        scored.append(spec)
        if len(scored) == 3:
            raise KeyboardInterrupt
        return by_width(spec)

    monkeypatch.setattr(trials, "score_of", until_the_third)
    with pytest.raises(KeyboardInterrupt):
        tried(killed, probes(killed), count=6, warm_start=True, epochs=2)
    shutil.rmtree(killed.cache / "bank")
    assert tried(killed, probes(killed), count=6, warm_start=True, epochs=2)[0] == expected


def test_an_empty_bank_is_a_cold_start(
    first: tuple[Trials, ModelSpec, ArtifactSet], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = run_in(tmp_path, "trials")
    with caplog.at_level(logging.INFO, "edgekd"):
        assert tried(run, probes(run), warm_start=True)[0] == first[0]
    assert "0 earlier tasks say where to begin" in caplog.text


def test_a_tight_limit_leaves_fewer_to_try(root: Path) -> None:
    run = run_in(root, "trials-3", limit=0.7)
    table, _, _ = tried(run, probes(run), count=100, epochs=1)
    assert len(table.trials) == table.within
    assert all(one.row.fits for one in table.trials)
    wide = run_in(root, "trials-4", limit=1.0)
    assert tried(wide, probes(wide), count=1)[0].within > table.within


def test_where_none_fits_the_cheapest_is_tried(root: Path) -> None:
    run = run_in(root, "trials-5", limit=1e-6)
    table, choice, _ = tried(run, probes(run), epochs=1)
    assert table.within == 1
    assert choice.options["channels"] == [16, 16, 16]


def test_scores_are_made_here_and_may_be_pruned_from_the_cache(
    first: tuple[Trials, ModelSpec, ArtifactSet], root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEKD_CACHE", str(root / "cache"))
    found = [entry for entry in cache.entries() if entry.kind == "trials"]
    assert len(found) >= 3
    assert all(entry.made_here for entry in found)
    assert all(entry.size_bytes < 2000 for entry in found), "no weights are left behind"


def test_two_workers_find_what_one_finds(tmp_path: Path) -> None:
    run = run_in(tmp_path, "trials")
    taught = with_teacher(tmp_path, model=TEACHER).add(*probes(run).artifacts)
    beside = tried(run, taught, workers=2, losses={"dist": {}})
    alone = tried(replace(run, cache=tmp_path / "another"), taught, losses={"dist": {}})
    assert beside[:2] == alone[:2]


def kill_all_workers_once(folder: Path) -> threading.Thread:
    """Kill them when the first of them has left a checkpoint in `folder`; the thread ends when that is done."""

    def kill() -> None:
        deadline = time.monotonic() + 60
        while not any(folder.glob("*/training/*/*.safetensors")) and time.monotonic() < deadline:
            time.sleep(0.002)
        for worker in multiprocessing.active_children():
            os.kill(worker.pid or 0, signal.SIGKILL)

    thread = threading.Thread(target=kill)
    thread.start()
    return thread


def test_a_killed_worker_costs_no_finished_epoch(root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    alone, run = run_in(root, "trials-9"), run_in(tmp_path, "trials")
    expected = tried(alone, probes(alone), count=2, epochs=10)[0]
    killer = kill_all_workers_once(run.cache / "trials")
    with caplog.at_level(logging.WARNING, "edgekd"):
        found = tried(run, probes(run), count=2, epochs=10, workers=2)[0]
    killer.join()
    assert "its worker died (SIGKILL); another one goes on" in caplog.text
    assert found == expected


def test_a_killed_search_goes_on_where_it_was(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alone, run = run_in(root, "trials-10"), run_in(tmp_path, "trials")
    expected = tried(alone, probes(alone), count=4)[0]
    scored: list[ModelSpec] = []
    score_of = trials.score_of

    def until_the_third(spec: ModelSpec, *rest: object) -> object:
        scored.append(spec)
        if len(scored) == 3:
            raise KeyboardInterrupt
        return score_of(spec, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(trials, "score_of", until_the_third)
    with pytest.raises(KeyboardInterrupt):
        tried(run, probes(run), count=4)
    assert tried(run, probes(run), count=4)[0] == expected
    assert len(scored) == 5, "the third is tried again, and nobody else"


def test_a_teacher_may_teach_the_trials(root: Path, tmp_path: Path) -> None:
    run = run_in(tmp_path, "trials")
    taught = with_teacher(tmp_path, model=TEACHER)
    artifacts = taught.add(*probes(run).artifacts)
    table, _, _ = tried(run, artifacts, losses={"dist": {}}, count=1, epochs=5)
    assert table.trials[0].score.error_percent < 60


def test_what_is_missing_is_told_early(root: Path) -> None:
    run = run_in(root, "trials-6")
    stage = TrialsStage(TrialsStage.Config.model_validate(TRIALS))
    with pytest.raises(UsageError, match="chooses again what the stage 'search' has chosen"):
        stage.requires(ArtifactSet(), run)
    known = probes(run)
    with pytest.raises(UsageError, match="needs a teacher"):
        TrialsStage(TrialsStage.Config(count=1)).requires(known, run)
    with pytest.raises(UsageError, match="finds a student for the stage 'distill'"):
        stage.requires(known, run_in(root, "trials-6", distill={"student": TEACHER}))
    for kind, wrong, right in (("sampler", "randum", "random"), ("executor", "rai", "ray")):
        with pytest.raises(UsageError, match=f"unknown name '{wrong}' in {kind}s; did you mean '{right}'"):
            TrialsStage(TrialsStage.Config.model_validate({**TRIALS, kind: wrong})).requires(known, run)


def test_a_plan_counts_every_trial(root: Path) -> None:
    run = run_in(root, "trials-7")
    stage = next(one for one in configured(run.recipe) if one.name == "trials")
    assert stage.config.all_epochs == 6
