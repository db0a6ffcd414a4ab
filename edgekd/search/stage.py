"""The stage that chooses the student's size: measure a handful of untrained engines, predict the rest."""

from __future__ import annotations

import logging
from typing import Any, ClassVar, Literal

from edgekd.artifact import ArtifactSet
from edgekd.errors import BudgetError, UsageError
from edgekd.models.kernels import macs
from edgekd.profile import Profile
from edgekd.quantize.drafts import images_of
from edgekd.recipe import Recipe
from edgekd.schema import Field, Schema, from_mapping, read_json, write_json
from edgekd.search.candidate import Candidate, candidate, spread
from edgekd.search.choice import Feasibility, Judge, beyond_doubt, schemes, step, stored
from edgekd.search.probes import FILE, Bench
from edgekd.search.space import Space, create
from edgekd.stage import Context, Stage
from edgekd.train import data
from edgekd.train.dataset import DataSet

log = logging.getLogger("edgekd")


class SearchConfig(Schema):
    """What is measured, and how the student is chosen."""

    space: str | None = Field(default=None, description="search space; that of the teacher's family when absent")
    space_options: dict[str, Any] = Field(default_factory=dict, description="options of the space")
    probes: int = Field(default=3, ge=1, le=20, description="untrained networks measured besides the teacher")
    processes: int = Field(default=3, ge=1, le=50, description="fresh processes each probe engine is measured in")
    student: Literal["auto", "teacher"] = Field(
        default="auto", description="auto: the largest that fits; teacher: no choice, the teacher itself goes on"
    )
    prune_speedup: float | None = Field(
        default=None, ge=1, le=100, description="what pruning will bring; 1.5 with a prune stage, else 1, when absent"
    )
    margin: float = Field(default=0.95, gt=0, le=1, description="share of the latency limit to aim at")

    @classmethod
    def of(cls, recipe: Recipe) -> SearchConfig:
        """Return what a recipe says about this stage."""
        return from_mapping(cls, recipe.stages.get("search", {}), "stages.search")

    def space_of(self, context: Context) -> Space:
        """Return the networks to choose from; raises UsageError for an unknown space or option."""
        return create(self.space, self.space_options, context.recipe.model, step(context))

    def judge_of(self, profile: Profile, context: Context) -> Judge:
        """Return who judges candidates by the measured probes of a run."""
        return Judge.of(profile, context, self.prune_speedup, self.margin)

    def judge_from(self, artifacts: ArtifactSet, context: Context) -> Judge:
        """Return who judges candidates by the probes that the search has left."""
        profile = read_json(Profile, context.path(artifacts.newest(network="probes", written_as="profile")))
        return self.judge_of(profile, context)


class SearchStage(Stage[SearchConfig]):
    """Chooses the student: artifacts `probes` (a profile) and, unless the student is the teacher, a choice."""

    name: ClassVar[str] = "search"
    Config: ClassVar[type[Schema]] = SearchConfig
    judges_cost: ClassVar[bool] = True

    def requires(self, artifacts: ArtifactSet, context: Context) -> None:
        """Need a latency limit to choose by, and a search space that exists."""
        del artifacts
        budget = context.recipe.budget
        if self.config.student == "auto" and budget.latency_ms is None and budget.latency_ratio is None:
            raise UsageError(
                "stage search: student 'auto' needs latency_ms or latency_ratio in the budget; "
                "or name the student in stages.distill.student"
            )
        self.config.space_of(context)

    def run(self, artifacts: ArtifactSet, context: Context) -> ArtifactSet:
        """Measure the probes, unless an earlier round of this run did, and choose."""
        dataset = data.load(context.recipe.data)
        teacher = candidate("teacher", context.recipe.model, dataset.image_shape, dataset.classes)
        choices = _cheaper(teacher, self._candidates(context, dataset))
        path = context.folder / FILE
        bench = Bench(context, schemes(context), images_of(dataset), dataset.classes, self.config.processes)
        profile = bench.profile([teacher, *spread(teacher, choices, self.config.probes, step(context))])
        write_json(profile, path)
        judge = self.config.judge_of(profile, context)
        chosen = judge.choose(choices) if self.config.student == "auto" else None
        table = judge.feasibility(choices, teacher, chosen)
        write_json(table, context.folder / "feasibility.json")
        notes = {"feasibility": table.text()}
        self._refuse_hopeless(judge, choices[0] if chosen is not None else teacher, table, context)
        if not table.reachable and chosen is not None:
            notes["out of reach"] = "even the smallest network of the space is predicted to miss the latency limit"
            log.warning("%s: %s", notes["out of reach"], table.text())
        probes = context.store(path, network="probes", format="profile", made_by=self.name, notes=notes)
        if chosen is None:
            return artifacts.add(probes)
        return artifacts.add(probes, stored(chosen, chosen.text(), self.name, context, parents=(probes.key,)))

    def _refuse_hopeless(self, judge: Judge, smallest: Candidate, table: Feasibility, context: Context) -> None:
        """Raise BudgetError when training cannot change the verdict; a guess about another machine proves nothing.

        After the first round there is a measured result, which says more than any prediction.
        """
        named = context.recipe.stages.get("distill", {}).get("student", "auto") != "auto"
        if context.round or named or not context.origin_is_device:
            return
        least = judge.least(smallest, pruned="prune" in context.recipe.stages)
        if judge.limit_ms is None or beyond_doubt(least) <= judge.limit_ms:
            return
        error = BudgetError(
            f"the latency limit of {judge.limit_ms:.3g} ms is out of reach: the smallest network that may come out of "
            f"this recipe needs {least.text()} ms, so nothing was trained; raise budget.latency_ms or "
            "budget.latency_ratio, or allow smaller networks (stages.search.space_options)"
        )
        error.add_note(table.lines())
        raise error

    def _candidates(self, context: Context, dataset: DataSet) -> list[Candidate]:
        specs = self.config.space_of(context).choices()
        with context.progress.task("size up the students", len(specs)) as advance:
            found = []
            for number, spec in enumerate(specs):
                found.append(candidate(f"choice-{number:02d}", spec, dataset.image_shape, dataset.classes))
                advance(1)
        return sorted(found, key=lambda c: macs(c.kernels))


def _cheaper(teacher: Candidate, candidates: list[Candidate]) -> list[Candidate]:
    """Return the candidates that multiply no more than the teacher; the first one where all do."""
    most = macs(teacher.kernels)
    return [c for c in candidates if macs(c.kernels) <= most] or candidates[:1]
