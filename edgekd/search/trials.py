"""The stage that tries students out: what a sampler proposes is trained for a while, the most accurate one is chosen.

A score belongs to a network, its data, its teacher and how it was trained, never to a device: what was tried once is
kept in the user's cache, so that a corrected prediction, another limit or another target chooses again for nothing.
It is also a row of the bank, from which later searches on other data may begin. Several are trained side by side where
there are several workers.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, ClassVar

import torch

from edgekd.artifact import Artifact, ArtifactSet
from edgekd.distill.lesson import Lesson
from edgekd.distill.teach import TeachConfig, refuse_unknown, teach
from edgekd.models.build import build
from edgekd.recipe import ModelSpec
from edgekd.schema import Field, Schema, digest_of, read_json, write_json
from edgekd.search import bank, executor, sampler
from edgekd.search.bank import Task
from edgekd.search.choice import in_words, refuse_out_of_place, stored
from edgekd.search.course import Costs, Course, Score, error_alone
from edgekd.search.executor import Job
from edgekd.search.fitting import Fitting
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
        description="experimental: begin where networks did well in earlier tasks, as far as the cache knows any and "
        "they are alike",
    )
    front: bool = Field(
        default=False,
        description="look for the front of latency and error, where networks differ in both, instead of for the most "
        "accurate network alone; that one is chosen in any case",
    )
    workers: int = Field(default=1, ge=1, le=1024, description="networks that are trained side by side")
    executor: str = Field(
        default="processes",
        description="name of an executor: where workers are; one of processes is the run's own process",
    )
    executor_options: dict[str, Any] = Field(default_factory=dict, description="options of the executor")

    @property
    def times(self) -> int:
        """Return how many networks are trained like this."""
        return self.count


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
        prior = self._prior(task, fitting, costs, key, context)
        asks = warmed(self._sampler(fitting.grid, context.recipe.seed), prior, context.recipe.seed)
        course = Course(asks, largest, wanted, context.folder / "course.json", key, costs)
        points: dict[Job[Score], Point] = {}
        with self._executor() as workers, context.progress.task("try students out", wanted) as advance:
            advance(len(course.told))
            theirs = context if workers.here else replace(context, connection=None, progress=Progress())

            def jobs() -> Iterator[Job[Score]]:
                for point in course.open():
                    spec = fitting.spec(point)
                    job = Job(in_words(spec), score_of, (spec, artifacts, theirs, self.config))
                    points[job] = point
                    yield job

            for job, score in workers.results(jobs()):
                bank.keep(context.cache, task, score)
                course.tell(points[job], score)
                advance(1, f"{100 - score.error_percent:.2f} % right")
        return artifacts.add(self._chosen(course.told, fitting, context, prior.tasks))

    def _sampler(self, grid: Grid, seed: int) -> Sampler:
        costs = 2 if self.config.front else 1
        return sampler.create(self.config.sampler, self.config.sampler_options, grid, costs=costs, seed=seed)

    def _executor(self) -> executor.Executor:
        return executor.create(self.config.executor, self.config.executor_options, self.config.workers)

    def _prior(self, task: Task, fitting: Fitting, costs: Costs, key: str, context: Context) -> Prior:
        """Return what earlier tasks say of the networks that fit; nothing where a cold start is asked for."""
        if not self.config.warm_start:
            return Prior(fitting.grid.axes, ())
        log.warning("a warm start of trials is experimental; see docs/search.md for what it has been shown to save")
        rows = bank.said(context.folder / BANK, key, lambda: bank.earlier(context.cache, task))
        prior = Prior(fitting.grid.axes, fitting.known(rows, costs))
        log.info(
            "trials: %d earlier tasks say where to begin; the bank has %d rows of other tasks, and a task counts that "
            "has tried %d of the networks that fit here",
            prior.tasks,
            len(rows),
            LEAST,
        )
        return prior

    def _chosen(self, tried: dict[Point, Score], fitting: Fitting, context: Context, earlier: int) -> Artifact:
        """Return the choice; beside it the table of all that were tried."""
        table = Trials.of(tried, fitting, self.config.sampler, earlier=earlier)
        write_json(table, context.folder / TABLE)
        return stored(table.trials[table.chosen].row, table.text(), self.name, context)


def score_of(spec: ModelSpec, artifacts: ArtifactSet, context: Context, config: TrialsConfig) -> Score:
    """Return what a network is worth: as known from before, else trained now; a killed training goes on."""
    dataset = data.load(context.recipe.data)
    torch.manual_seed(context.recipe.seed)
    model = build(spec, dataset.input_shape, dataset.classes)
    taught = config.alone
    place = context.cache / CACHED / Lesson(artifacts, context, taught, context.recipe.data).key(model)[:32]
    kept = place / "score.json"
    if kept.is_file():
        log.info("trials: %s was tried before (%s)", in_words(spec), place)
        return read_json(Score, kept)
    history = teach(model, artifacts, context, taught, folder=place / "training", title=in_words(spec))
    right = next(f for f in judged(model, dataset, context.origin_here) if f.name == "accuracy_percent")
    score = Score(spec=spec, error_percent=100 - right.value, images=history.images)
    write_json(score, kept)
    shutil.rmtree(place / "training")
    return score


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
