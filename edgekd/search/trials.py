"""The stage that tries students out: what a sampler proposes is trained for a while, the most accurate one is chosen.

A score belongs to a network, its data, its teacher and how it was trained, never to a device: what was tried once is
kept in the user's cache, so that a corrected prediction, another limit or another target chooses again for nothing.
"""

from __future__ import annotations

import logging
import shutil
from typing import Any, ClassVar

import torch

from edgekd.artifact import Artifact, ArtifactSet
from edgekd.distill.lesson import Lesson
from edgekd.distill.teach import TeachConfig, refuse_unknown, teach
from edgekd.models.build import build
from edgekd.models.kernels import macs
from edgekd.profile import Profile
from edgekd.recipe import ModelSpec
from edgekd.schema import Field, Schema, read_json, write_json
from edgekd.search import sampler
from edgekd.search.candidate import Candidate, candidate
from edgekd.search.choice import Judge, Row, in_words, refuse_out_of_place
from edgekd.search.sampler import Grid
from edgekd.search.space import Point, Space
from edgekd.search.stage import SearchConfig
from edgekd.stage import Context, Stage
from edgekd.train import data
from edgekd.train.judging import judged

log = logging.getLogger("edgekd")

CACHED = "trials"
"""The folder of the cache that keeps scores."""


class TrialsConfig(TeachConfig):
    """How many students are tried, how they are found, and how long each is trained under the teacher."""

    count: int = Field(default=12, ge=1, le=10_000, description="networks that are trained to be compared")
    epochs: int = Field(default=2, ge=1, le=100_000, description="passes over the training samples in a trial")
    sampler: str = Field(default="random", description="name of a sampler: which network is tried next")
    sampler_options: dict[str, Any] = Field(default_factory=dict, description="options of the sampler")

    @property
    def times(self) -> int:
        """Return how many networks are trained like this."""
        return self.count


class Score(Schema):
    """What a network was found to be worth."""

    spec: ModelSpec
    error_percent: float = Field(description="of validation after the trial's training")
    images: int = Field(description="seen in that training")


class Trial(Schema):
    """One network that was tried within the limit."""

    row: Row
    score: Score


class Trials(Schema):
    """All that were tried, in the order they were proposed, and the one that was chosen."""

    sampler: str
    within: int = Field(description="networks of the space that are predicted to be within the limit")
    trials: tuple[Trial, ...]
    chosen: int = Field(description="position of the chosen one")

    def text(self) -> str:
        """Return the result in one line."""
        best, first = self.trials[self.chosen], self.trials[0]
        return (
            f"{len(self.trials)} of {self.within} networks within the limit tried (sampler {self.sampler}): "
            f"{best.row.text()}, {100 - best.score.error_percent:.2f} % right after a short training; "
            f"the largest one {100 - first.score.error_percent:.2f} %"
        )


class TrialsStage(Stage[TrialsConfig]):
    """Chooses the student by what it learns, among those that fit: a new choice in place of the search's."""

    name: ClassVar[str] = "trials"
    Config: ClassVar[type[Schema]] = TrialsConfig
    judges_cost: ClassVar[bool] = True

    def requires(self, artifacts: ArtifactSet, context: Context) -> None:
        """Need the search's probes, a limit to fit into, a teacher, and a sampler and losses that exist."""
        config = self.config
        sampler.create(config.sampler, config.sampler_options, Grid(()), costs=1, seed=0)
        refuse_unknown(config)
        refuse_out_of_place(self.name, config.losses, artifacts, context)

    def run(self, artifacts: ArtifactSet, context: Context) -> ArtifactSet:
        """Try networks until as many are known as were asked for, and choose."""
        profile = read_json(Profile, context.path(artifacts.newest(network="probes", written_as="profile")))
        search = SearchConfig.of(context.recipe)
        fitting = _Fitting(search.space_of(context), search.judge_of(profile, context), context)
        largest = fitting.points[-1]  # what the search would choose is the first to be tried
        asks = sampler.create(
            self.config.sampler, self.config.sampler_options, fitting.grid, costs=1, seed=context.recipe.seed
        )
        tried: dict[Point, Score] = {}
        wanted = min(self.config.count, len(fitting.points))
        with context.progress.task("try students out", wanted) as advance:
            following: Point | None = largest
            while following is not None and len(tried) < wanted:
                tried[following] = self._score(fitting.spec(following), artifacts, context)
                asks.tell(following, (tried[following].error_percent,))
                advance(1, f"{100 - tried[following].error_percent:.2f} % right")
                following = asks.ask()
        return artifacts.add(self._chosen(tried, fitting, context))

    def _score(self, spec: ModelSpec, artifacts: ArtifactSet, context: Context) -> Score:
        """Return what a network is worth: as known from before, else trained now; a killed training goes on."""
        dataset = data.load(context.recipe.data)
        torch.manual_seed(context.recipe.seed)
        model = build(spec, dataset.input_shape, dataset.classes)
        config = TeachConfig.model_validate({name: getattr(self.config, name) for name in TeachConfig.model_fields})
        place = context.cache / CACHED / Lesson(artifacts, context, config, context.recipe.data).key(model)[:32]
        kept = place / "score.json"
        if kept.is_file():
            log.info("trials: %s was tried before (%s)", in_words(spec), place)
            return read_json(Score, kept)
        history = teach(model, artifacts, context, config, folder=place / "training", title=in_words(spec))
        right = next(f for f in judged(model, dataset, context.origin_here) if f.name == "accuracy_percent")
        score = Score(spec=spec, error_percent=100 - right.value, images=history.images)
        write_json(score, kept)
        shutil.rmtree(place / "training")
        return score

    def _chosen(self, tried: dict[Point, Score], fitting: _Fitting, context: Context) -> Artifact:
        """Return the choice: the most accurate network, of equals the cheapest; beside it the table of all."""
        told = tuple(Trial(row=fitting.row(point), score=score) for point, score in tried.items())
        best = min(range(len(told)), key=lambda k: (told[k].score.error_percent, told[k].row.macs))
        table = Trials(sampler=self.config.sampler, within=len(fitting.points), trials=told, chosen=best)
        write_json(table, context.folder / "trials.json")
        write_json(told[best].row.spec, context.folder / "choice.json")
        return context.store(
            context.folder / "choice.json",
            network="distilled",
            format="choice",
            made_by=self.name,
            figures=(told[best].row.latency,),
            notes={"choice": table.text()},
        )


class _Fitting:
    """The networks of a space that are predicted to be within the limit, by growing cost; the cheapest where none is.

    Several points may be the same network; only the first of them counts.
    """

    def __init__(self, space: Space, judge: Judge, context: Context) -> None:
        dataset = data.load(context.recipe.data)
        shape, classes = dataset.image_shape, dataset.classes
        most = macs(candidate("teacher", context.recipe.model, shape, classes).kernels)
        self._judge, self._found = judge, dict[Point, Candidate]()
        by_cost = space.distinct()
        with context.progress.task("size up the students", len(by_cost)) as advance:
            for point in by_cost:
                self._found[point] = candidate("student", space.at(point), shape, classes)
                advance(1)
        affordable = [point for point, one in self._found.items() if macs(one.kernels) <= most]
        self.points = [point for point in affordable if self.row(point).fits] or by_cost[:1]
        """By growing cost."""
        self.grid = Grid(space.axes(), frozenset(self.points).__contains__)

    def spec(self, point: Point) -> ModelSpec:
        """Return a network of the space."""
        return self._found[point].spec

    def row(self, point: Point) -> Row:
        """Return what a network is predicted to cost."""
        return self._judge.row("tried", self._found[point])
