"""Successive halving in trials: all are trained a little, few to the end, and a kill in any rung loses nothing."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from edgekd.artifact import ArtifactSet
from edgekd.errors import UsageError
from edgekd.pipeline.stages import configured, loops
from edgekd.recipe import ModelSpec
from edgekd.schema import from_mapping, read_json
from edgekd.search import bank, trials
from edgekd.search.course import Score
from edgekd.search.halving import Rung, all_epochs, going_on, rungs
from edgekd.search.sampler import Sampler
from edgekd.search.space import Point
from edgekd.search.trials import TrialsConfig, TrialsStage
from edgekd.search.tried import Trials
from edgekd.stage import Context
from edgekd.train import resume
from tests.distill.tiny_run import context
from tests.search.measured import probes

TEACHER = {"name": "resnet", "options": {"depth": 8, "channels": [16, 32, 48]}}
SEARCH = {"space_options": {"depths": [8], "multipliers": [0.25, 0.5, 1.0], "growths": [1.0, 1.5, 2.0]}, "margin": 1}
HALVED = {"count": 4, "epochs": 4, "halving": 2, "batch": 32, "learning_rate": 0.05, "losses": {}}
TRAINED = 4 * 1 + 2 * 1 + 1 * 2
"""Epochs of all networks together."""


def run_in(root: Path, stage: str = "trials", limit: float = 1.0) -> Context:
    plain = {"search": SEARCH, "teacher": {}, "trials": HALVED, "distill": {}}
    return context(root, stage, model=TEACHER, stages=plain, budget={"latency_ratio": limit})


def tried(run: Context, **options: object) -> tuple[Trials, ModelSpec]:
    artifacts = probes(run)
    stage = TrialsStage(TrialsStage.Config.model_validate({**HALVED, **options}))
    stage.requires(artifacts, run)
    done = stage.run(artifacts, run)
    return read_json(Trials, run.folder / "trials.json"), read_json(
        ModelSpec, run.path(done.newest(written_as="choice"))
    )


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("halving")


@pytest.fixture(scope="module")
def first(root: Path) -> tuple[Trials, ModelSpec]:
    return tried(run_in(root))


def refuse(*_: object, **__: object) -> None:
    raise AssertionError


def names(folder: Path, pattern: str) -> list[str]:
    return sorted(path.name for path in folder.glob(pattern))


@pytest.mark.parametrize(
    ("count", "epochs", "eta", "ladder", "trained"),
    [
        (27, 9, 3, [(27, 1), (9, 3), (3, 9)], 7 * 9),
        (12, 2, 2, [(12, 1), (6, 2)], 18),
        (5, 9, 3, [(5, 3), (1, 9)], 21),
        (10, 10, 3, [(10, 1), (3, 3), (1, 10)], 10 + 3 * 2 + 7),
        (7, 100, 2, [(7, 25), (3, 50), (1, 100)], 7 * 25 + 3 * 25 + 50),
    ],
)
def test_each_rung_has_a_part_of_the_networks_and_the_last_one_all_epochs(
    count: int, epochs: int, eta: int, ladder: list[tuple[int, int]], trained: int
) -> None:
    found = rungs(count, epochs, eta)
    assert [(rung.networks, rung.epochs) for rung in found] == ladder
    assert all_epochs(found) == trained
    assert TrialsConfig(count=count, epochs=epochs, halving=eta).all_epochs == trained


def test_without_it_every_network_has_all_epochs() -> None:
    assert TrialsConfig(count=5, epochs=3).rungs == (Rung(networks=5, epochs=3),)
    assert TrialsConfig(count=5, epochs=3).all_epochs == 15


def test_a_plan_counts_what_each_rung_trains(root: Path) -> None:
    stage = next(one for one in configured(run_in(root).recipe) if one.name == "trials")
    assert [loop.all_epochs for _, loop in loops(stage.config, "")] == [TRAINED]


def test_the_most_accurate_go_on_and_of_equals_the_cheapest() -> None:
    errors = {(0,): 30.0, (1,): 10.0, (2,): 20.0, (3,): 20.0, (4,): 50.0}
    told = {p: Score(spec=ModelSpec(name="resnet"), error_percent=e, images=1) for p, e in errors.items()}
    assert going_on(told, 2, lambda point: -point[0]) == [(1,), (3,)]
    assert going_on(told, 1, lambda point: point[0]) == [(1,), (2,), (3,), (0,), (4,)]
    assert going_on(told, 9, lambda point: point[0]) == [(1,)]


def test_few_are_trained_in_full_and_the_table_tells_for_how_long(first: tuple[Trials, ModelSpec]) -> None:
    table, choice = first
    assert [one.score.images for one in table.trials] == [256 * (one.score.stopped_after or 4) for one in table.trials]
    assert sorted(one.score.stopped_after or 4 for one in table.trials) == [1, 1, 2, 4]
    assert table.trials[table.chosen].score.stopped_after is None
    assert choice == table.trials[table.chosen].score.spec
    assert table.front == (table.chosen,), "an error after fewer epochs is not compared"
    assert [(rung.networks, rung.epochs) for rung in table.rungs] == [(4, 1), (2, 2), (1, 4)]
    assert table.text().endswith("; 4 were trained for 1 epoch, 2 of them for 2, 1 of them for 4")
    early = next(one for one in table.trials if one.score.stopped_after == 1)
    assert " % right after 1 epoch: " in early.text()


def test_who_was_stopped_in_between_is_what_a_plain_trial_finds(
    first: tuple[Trials, ModelSpec], tmp_path: Path
) -> None:
    plain = {one.score.spec.model_dump_json(): one.score for one in tried(run_in(tmp_path), halving=None)[0].trials}
    assert len(plain) == 4
    best = first[0].trials[first[0].chosen].score
    assert plain[best.spec.model_dump_json()] == best


def test_no_training_is_left_and_scores_are_kept_by_rung(root: Path, first: tuple[Trials, ModelSpec]) -> None:
    cache = root / "cache" / "trials"
    assert not names(cache, "*/training")
    assert names(cache, "*/*") == sorted([*["score-1.json"] * 4, *["score-2.json"] * 2, "score.json"])


def test_a_score_counts_for_its_rung_alone(
    root: Path, first: tuple[Trials, ModelSpec], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(trials, "teach", refuse)
        assert tried(run_in(root, "trials-2")) == first
        for other in ({"epochs": 1}, {"epochs": 2}, {"epochs": 4}):
            with pytest.raises(AssertionError):
                tried(run_in(root, "trials-3"), halving=None, **other)
    taught = list[str]()
    teach = trials.teach

    def noticed(*given: object, title: str, **rest: object) -> object:
        taught.append(title)
        return teach(*given, title=title, **rest)  # type: ignore[arg-type]

    monkeypatch.setattr(trials, "teach", noticed)
    tried(run_in(root, "trials-4"), halving=None)
    assert len(taught) == 3, "one of the four was trained in full before"


def test_only_what_was_trained_in_full_is_a_row_of_the_bank(root: Path, tmp_path: Path) -> None:
    run = run_in(tmp_path)
    table, _ = tried(run)
    another = trials.task_of(probes(run), run, TrialsConfig.model_validate({**HALVED, "epochs": 7}))
    assert [row.score for row in bank.earlier(run.cache, another)] == [table.trials[table.chosen].score.worth]


def test_the_sampler_is_told_the_first_rung_and_the_choice_is_among_the_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[float] = []
    tell = Sampler.tell

    def noticed(self: Sampler, point: Point, costs: Sequence[float]) -> None:
        told.extend(costs)
        tell(self, point, costs)

    def worse_each_time(spec: ModelSpec, *given: object) -> Score:
        until = int(str(given[3]))
        width = sum(spec.options["channels"])
        return Score(
            spec=spec, error_percent=width / 10 + 10 * until, images=1, stopped_after=until if until < 4 else None
        )

    monkeypatch.setattr(Sampler, "tell", noticed)
    monkeypatch.setattr(trials, "score_of", worse_each_time)
    table, choice = tried(run_in(tmp_path), count=6)
    widths = [sum(one.row.spec.options["channels"]) for one in table.trials]
    assert told == [width / 10 + 10 for width in widths]
    assert [one.score.stopped_after for one in table.trials].count(None) == 1
    assert sum(choice.options["channels"]) == min(widths)
    assert table.trials[table.chosen].score.error_percent == max(one.score.error_percent for one in table.trials)


def test_where_fewer_fit_than_were_asked_for_one_is_trained_in_full(tmp_path: Path) -> None:
    table, _ = tried(run_in(tmp_path, limit=1e-6))
    assert [(rung.networks, rung.epochs) for rung in table.rungs] == [(1, 1), (1, 2), (1, 4)]
    assert table.trials[0].score.stopped_after is None


@pytest.mark.parametrize("executor", ["processes", "ray"])
def test_several_workers_find_what_one_finds(
    first: tuple[Trials, ModelSpec], tmp_path: Path, executor: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    run = run_in(tmp_path)
    assert tried(run, workers=2, executor=executor) == first
    assert not names(run.cache / "trials", "*/training")


def counted(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Return a list that gets an entry with every checkpoint that is written, which is every epoch that is trained."""
    written, write = list[Path](), resume.write

    def noticed(folder: Path, *rest: object) -> None:
        write(folder, *rest)  # type: ignore[arg-type]
        written.append(folder)

    monkeypatch.setattr(resume, "write", noticed)
    return written


def killed_after(root: Path, epochs: int, threads: int) -> None:
    """Be a search that the kernel kills when it has trained so many epochs."""
    torch.set_num_threads(threads)
    with pytest.MonkeyPatch.context() as patch:
        written = counted(patch)
        write = resume.write

        def last(*given: object) -> None:
            write(*given)  # type: ignore[arg-type]
            if len(written) == epochs:
                os.kill(os.getpid(), signal.SIGKILL)

        patch.setattr(resume, "write", last)
        tried(run_in(root))


@pytest.mark.parametrize("epochs", [2, 5, 7, 8], ids=["first rung", "second", "last", "last epoch"])
def test_a_search_killed_in_any_rung_trains_no_epoch_twice(
    first: tuple[Trials, ModelSpec], tmp_path: Path, epochs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = f"Path({str(tmp_path)!r}), {epochs}, {torch.get_num_threads()}"
    code = f"from pathlib import Path; from tests.search import test_halving; test_halving.killed_after({given})"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -signal.SIGKILL
    assert names(tmp_path / "cache" / "trials", "*/training")
    written = counted(monkeypatch)
    run = run_in(tmp_path)
    assert tried(run) == first
    assert len(written) == TRAINED - epochs
    assert not names(run.cache / "trials", "*/training")


def test_a_training_that_is_further_than_its_rung_is_started_over(
    first: tuple[Trials, ModelSpec], tmp_path: Path
) -> None:
    run = run_in(tmp_path)
    config = TrialsConfig.model_validate(HALVED)
    one = next(trial.score for trial in first[0].trials if trial.score.stopped_after == 1)
    assert trials.score_of(one.spec, ArtifactSet(), run, config, 3).images == 3 * 256
    assert trials.score_of(one.spec, ArtifactSet(), run, config, 1) == one


def test_that_it_is_experimental_is_told(
    root: Path, first: tuple[Trials, ModelSpec], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "edgekd"):
        tried(run_in(root, "trials-5"))
    assert "halving of trials is experimental" in caplog.text


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"halving": 1}, "halving = 1: Input should be greater than or equal to 2"),
        ({"halving": 3, "epochs": 1}, "halving = 3: epochs is 1, and to be divided it must be at least 3"),
        ({"halving": 3, "count": 2}, "halving = 3: count is 2, and to be divided it must be at least 3"),
        ({"halving": 2, "front": True}, "halving = 2: who goes on is decided by the error alone; leave out front"),
    ],
)
def test_what_cannot_be_halved_is_told_in_a_sentence(options: dict[str, object], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence) as told:
        from_mapping(TrialsConfig, {"epochs": 9, **options}, "recipe.yaml")
    assert "\n" not in str(told.value)
