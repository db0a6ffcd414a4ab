"""The stage that tries students out: what a sampler proposes is trained for a while, the most accurate one is chosen.

A score belongs to a network, its data, its teacher and how it was trained, never to a device: what was tried once is
kept in the user's cache, so that a corrected prediction, another limit or another target chooses again for nothing.
It is also a row of the bank, from which later searches on other data may begin. Several are trained side by side where
there are several workers.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import nn

from edgekd.artifact import Artifact, ArtifactSet
from edgekd.distill.lesson import Lesson
from edgekd.distill.teach import TeachConfig, refuse_unknown, teach
from edgekd.models.build import build
from edgekd.recipe import ModelSpec
from edgekd.schema import Field, Schema, ValidationInfo, digest_of, field_validator, read_json, write_json
from edgekd.search import bank, executor, sampler
from edgekd.search.bank import Task
from edgekd.search.choice import in_words, refuse_out_of_place, stored
from edgekd.search.course import Costs, Course, Score, Worth, error_alone
from edgekd.search.executor import Job
from edgekd.search.fitting import Fitting
from edgekd.search.halving import Rung, all_epochs, going_on, rungs
from edgekd.search.prior import LEAST, Prior
from edgekd.search.sampler import Grid, Sampler
from edgekd.search.space import Point
from edgekd.search.stage import SearchConfig
from edgekd.search.tried import TABLE, Trials
from edgekd.search.warm import warmed
from edgekd.stage import Context, Progress, Stage
from edgekd.train import data
from edgekd.train.judging import judged

log = logging.getLogger("edgekd")

CACHED = "trials"
"""The folder of the cache that keeps scores."""
TRAINING = "training"
"""The folder of a network in there, as long as its training may go on."""
BANK = "bank.json"
"""In the stage's folder: what earlier tasks said when a search with a warm start began."""


class TrialsConfig(TeachConfig):
    """How many students are tried, how they are found, and how long each is trained under the teacher."""

    count: int = Field(default=12, ge=1, le=10_000, description="networks that are trained to be compared")
    epochs: int = Field(default=2, ge=1, le=100_000, description="passes over the training samples in a trial")
    sampler: str = Field(default="random", description="name of a sampler: which network is tried next")
    sampler_options: dict[str, Any] = Field(default_factory=dict, description="options of the sampler")
    warm_start: bool = Field(
        default=False,
        description="begin where earlier tasks foretell the best networks, as far as the cache knows any and they are "
        "alike",
    )
    front: bool = Field(
        default=False,
        description="look for the front of latency and error, where networks differ in both, instead of for the most "
        "accurate network alone; that one is chosen in any case",
    )
    halving: int | None = Field(
        default=None,
        ge=2,
        le=1000,
        description="experimental: the factor eta of successive halving: all networks are trained for a part of the "
        "epochs, the best 1/eta of them go on to eta times as many, and so on; all are trained in full when absent",
    )
    workers: int = Field(default=1, ge=1, le=1024, description="networks that are trained side by side")
    executor: str = Field(
        default="processes",
        description="name of an executor: where workers are; one of processes is the run's own process",
    )
    executor_options: dict[str, Any] = Field(default_factory=dict, description="options of the executor")

    @field_validator("halving")
    @classmethod
    def _has_rungs(cls, eta: int | None, info: ValidationInfo) -> int | None:
        known = info.data
        fewest = [name for name in ("count", "epochs") if eta is not None and known.get(name, eta) < eta]
        if fewest:
            raise ValueError(f"{fewest[0]} is {known[fewest[0]]}, and to be divided it must be at least {eta}")
        if eta is not None and known.get("front"):
            raise ValueError("who goes on is decided by the error alone; leave out front: true")
        return eta

    @property
    def rungs(self) -> tuple[Rung, ...]:
        """Return how long how many networks are trained; what fits does not change that, nor where scores are kept."""
        if self.halving is None:
            return (Rung(epochs=self.epochs, networks=self.count),)
        return rungs(self.count, self.epochs, self.halving)

    @property
    def all_epochs(self) -> int:
        """Return the epochs of all networks together."""
        return all_epochs(self.rungs)


class TrialsStage(Stage[TrialsConfig]):
    """Chooses the student by what it learns, among those that fit: a new choice in place of the search's."""

    name: ClassVar[str] = "trials"
    Config: ClassVar[type[Schema]] = TrialsConfig
    judges_cost: ClassVar[bool] = True

    def requires(self, artifacts: ArtifactSet, context: Context) -> None:
        """Need the search's probes, a limit to fit into, a teacher, and a sampler, workers and losses that exist."""
        config = self.config
        self._sampler(Grid(()), seed=0)
        self._executor()
        refuse_unknown(config)
        refuse_out_of_place(self.name, config.losses, artifacts, context)

    def run(self, artifacts: ArtifactSet, context: Context) -> ArtifactSet:
        """Try networks until as many are known as were asked for, and choose."""
        search = SearchConfig.of(context.recipe)
        fitting = Fitting(search.space_of(context), search.judge_from(artifacts, context), context)
        largest = fitting.points[-1]  # what the search would choose is the first to be tried
        wanted = min(self.config.count, len(fitting.points))
        facts = [self.config.plain(), context.recipe.seed, fitting.points, [a.digest for a in artifacts.artifacts]]
        costs = fitting.both_costs if self.config.front else error_alone
        task, key = task_of(artifacts, context, self.config), digest_of(facts)
        grid = replace(fitting.grid, foreseen=fitting.foreseen) if self.config.front else fitting.grid
        prior = self._prior(task, fitting, grid, costs, key, context)
        asks = warmed(self._sampler(grid, context.recipe.seed), prior, context.recipe.seed)
        course = Course(asks, largest, wanted, context.folder / "course.json", key, costs)
        if self.config.halving is not None:
            log.warning("halving of trials is experimental: it has not been shown to choose better; see docs/search.md")
        self._climb(course, fitting, artifacts, context, task)
        return artifacts.add(self._chosen(course, fitting, context, prior.tasks))

    def _climb(self, course: Course, fitting: Fitting, artifacts: ArtifactSet, context: Context, task: Task) -> None:
        """Train rung by rung; the first has what the sampler asks for, each later one the best of the one before."""
        ladder, points = self.config.rungs, dict[Job[Score], Point]()
        eta, fit = self.config.halving or 1, min(self.config.count, len(fitting.points))
        total = sum(max(1, fit // eta**number) for number in range(len(ladder)))
        with self._executor() as workers, context.progress.task("try students out", total) as advance:
            theirs = context if workers.here else replace(context, connection=None, progress=Progress())

            def jobs(number: int) -> Iterator[Job[Score]]:
                for point in course.open() if number == 0 else self._left(course, number, fitting):
                    spec = fitting.spec(point)
                    job = Job(in_words(spec), score_of, (spec, artifacts, theirs, self.config, ladder[number].epochs))
                    points[job] = point
                    yield job

            for number in range(len(ladder)):
                advance(len(course.told_in(number)))
                for job, score in workers.results(jobs(number)):
                    if score.stopped_after is None:  # the others are no scores of this task
                        bank.keep(context.cache, task, score.worth)
                    course.tell(points[job], score, number)
                    advance(1, f"{100 - score.error_percent:.2f} % right")
        if self.config.halving is not None:
            clear([fitting.spec(point) for point in course.told], artifacts, context, self.config)

    def _left(self, course: Course, number: int, fitting: Fitting) -> list[Point]:
        """Return who has gone on to a later rung and is not known there yet."""
        eta, before, known = self.config.halving or 1, course.told_in(number - 1), course.told_in(number)
        return [p for p in going_on(before, eta, lambda point: fitting.row(point).macs) if p not in known]

    def _sampler(self, grid: Grid, seed: int) -> Sampler:
        costs = 2 if self.config.front else 1
        return sampler.create(self.config.sampler, self.config.sampler_options, grid, costs=costs, seed=seed)

    def _executor(self) -> executor.Executor:
        return executor.create(self.config.executor, self.config.executor_options, self.config.workers)

    def _prior(  # noqa: PLR0917
        self, task: Task, fitting: Fitting, grid: Grid, costs: Costs, key: str, context: Context
    ) -> Prior:
        """Return what earlier tasks say of the networks that fit; nothing where a cold start is asked for."""
        if not self.config.warm_start:
            return Prior(grid, ())
        rows = bank.said(context.folder / BANK, key, lambda: bank.earlier(context.cache, task))
        prior = Prior(grid, fitting.known(rows, costs))
        log.info(
            "trials: %d earlier tasks say where to begin; the bank has %d rows of other tasks, and a task counts that "
            "has tried %d networks of the present space",
            prior.tasks,
            len(rows),
            LEAST,
        )
        return prior

    def _chosen(self, course: Course, fitting: Fitting, context: Context, earlier: int) -> Artifact:
        """Return the choice; beside it the table of all that were tried, each as it was known last."""
        told = [course.told_in(number) for number in range(len(self.config.rungs))]
        last = {point: next(scores[point] for scores in reversed(told) if point in scores) for point in course.told}
        reached = [r.replace(networks=len(scores)) for r, scores in zip(self.config.rungs, told, strict=True)]
        halved = tuple(reached) if self.config.halving is not None else ()
        table = Trials.of(last, fitting, self.config.sampler, earlier=earlier, rungs=halved)
        write_json(table, context.folder / TABLE)
        return stored(table.trials[table.chosen].row, table.text(), self.name, context)


def score_of(
    spec: ModelSpec, artifacts: ArtifactSet, context: Context, config: TrialsConfig, until: int | None = None
) -> Score:
    """Return what a network is worth: as known from before, else trained now; a killed training goes on.

    With `until` it is what the network is worth after so many epochs of its schedule. That is no score of a training
    of so many epochs, and is kept beside it; what was trained waits to go on until it is cleared.
    """
    dataset = data.load(context.recipe.data)
    lesson = Lesson(artifacts, context, config.alone, context.recipe.data)
    model, place = _begun(spec, lesson, context)
    stops = until if until is not None and until < config.epochs else None
    kept = place / ("score.json" if stops is None else f"score-{stops}.json")
    if kept.is_file():
        log.info("trials: %s was tried before (%s)", in_words(spec), place)
        return Score(**read_json(Worth, kept).model_dump(), stopped_after=stops)
    folder, title = place / TRAINING, in_words(spec)
    history = teach(model, artifacts, context, config.alone, folder=folder, title=title, until=stops)
    right = next(f for f in judged(model, dataset, context.origin_here) if f.name == "accuracy_percent")
    worth = Worth(spec=spec, error_percent=100 - right.value, images=history.images)
    write_json(worth, kept)
    if stops is None:
        shutil.rmtree(folder)
    return Score(**worth.model_dump(), stopped_after=stops)


def clear(specs: Iterable[ModelSpec], artifacts: ArtifactSet, context: Context, config: TrialsConfig) -> None:
    """Remove what was trained of networks that nobody goes on with; their scores stay."""
    lesson = Lesson(artifacts, context, config.alone, context.recipe.data)
    for spec in specs:
        shutil.rmtree(_begun(spec, lesson, context)[1] / TRAINING, ignore_errors=True)


def _begun(spec: ModelSpec, lesson: Lesson, context: Context) -> tuple[nn.Module, Path]:
    """Return a network as its trial begins, and the folder of the cache that is its own."""
    dataset = data.load(context.recipe.data)
    torch.manual_seed(context.recipe.seed)
    model = build(spec, dataset.input_shape, dataset.classes)
    return model, context.cache / CACHED / lesson.key(model)[:32]


def task_of(artifacts: ArtifactSet, context: Context, config: TrialsConfig) -> Task:
    """Return what the scores of a run depend on besides the network."""
    dataset = data.load(context.recipe.data)
    return Task(
        key=Lesson(artifacts, context, config.alone, context.recipe.data).setting(),
        name=dataset.name,
        data=dataset.digest,
        classes=dataset.classes,
        input_shape=dataset.input_shape,
        samples=len(dataset.train),
        epochs=config.epochs,
        losses=tuple(config.losses),
    )
