"""The search alone: a recipe up to the choice of a student, and the front of the students that were tried."""

from __future__ import annotations

from typing import Any

from edgekd.artifact import ArtifactSet
from edgekd.distill.stage import DistillStage
from edgekd.errors import UsageError
from edgekd.pipeline.loop import begun
from edgekd.pipeline.request import Request
from edgekd.pipeline.stages import STAGES
from edgekd.recipe import ModelSpec
from edgekd.schema import Field, Schema, read_json, write_json
from edgekd.search.choice import Feasibility
from edgekd.search.tried import TABLE, Trials
from edgekd.stage import Progress, Stage
from edgekd.train.stage import TeacherStage

FILE = "search.json"
"""In the run folder: what the search found."""


class Found(Schema):
    """What a search ended with."""

    target: str
    feasibility: Feasibility
    chosen: ModelSpec
    why: str = Field(description="what the stage that chose says of it")
    trials: Trials | None = Field(default=None, description="where students were tried")
    front: tuple[int, ...] = Field(
        default=(), description="positions of the trials no other one beats in latency and error, by growing latency"
    )

    def lines(self) -> list[str]:
        """Return the result for a terminal, the choice last."""
        lines = self.feasibility.lines().splitlines()
        if self.trials is not None:
            lines.append(f"the front of the students that were {'trained in full' if self.trials.rungs else 'tried'}:")
            lines += [f"  {self.trials.trials[position].text()}" for position in self.front]
        return [*lines, self.why]


def search(asked: Request, progress: Progress) -> Found:
    """Run a recipe until its student is chosen; `compress` with the same recipe and folder goes on from there.

    Raises UsageError for a recipe that leaves nothing to choose, and what the stages raise.
    """
    chosen_by = choosing(asked)
    with begun(asked, progress) as (stages, runner):
        artifacts = ArtifactSet()
        for stage in _needed(stages, chosen_by):
            artifacts = runner.run(stage, artifacts)
        probes = runner.context.path(artifacts.newest(network="probes", written_as="profile"))
        choice = artifacts.newest(network="distilled", written_as="choice")
        at = runner.context.path(choice)
        trials = read_json(Trials, at.parent / TABLE) if (at.parent / TABLE).is_file() else None
        found = Found(
            target=asked.target.name,
            feasibility=read_json(Feasibility, probes.parent / "feasibility.json"),
            chosen=read_json(ModelSpec, at),
            why=choice.notes["choice"],
            trials=trials,
            front=trials.front if trials is not None else (),
        )
        write_json(found, asked.run_folder / FILE)
        return found


def choosing(asked: Request) -> set[str]:
    """Return the names of the recipe's stages up to the choice; raises UsageError where there is nothing to choose."""
    options = asked.recipe.stages.get("search")
    if options is None:
        raise UsageError("this recipe has no stage 'search', so there is nothing to choose from; add stages.search")
    if options.get("student", "auto") != "auto":
        raise UsageError("stages.search.student is 'teacher', so nothing is chosen; leave it out or set it to auto")
    return {kind.name for kind in STAGES[: STAGES.index(DistillStage)]}


def _needed(stages: list[Stage[Any]], names: set[str]) -> list[Stage[Any]]:
    """Return the stages that lead to the choice; a teacher in the end would teach nobody."""
    found = [stage for stage in stages if stage.name in names]
    return found[:-1] if found[-1].name == TeacherStage.name else found
