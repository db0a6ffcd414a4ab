"""The choice of a student: the largest whose predicted latency, pruned and corrected, is within the limit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgekd.artifact import Artifact, ArtifactSet
from edgekd.errors import UsageError
from edgekd.figure import Figure
from edgekd.models.kernels import macs
from edgekd.predict.features import step_of
from edgekd.predict.limit import limit_ms
from edgekd.predict.predictor import Predictor
from edgekd.profile import Kernel, Profile
from edgekd.recipe import ModelSpec
from edgekd.schema import Field, Schema, write_json
from edgekd.search.candidate import Candidate, narrowest
from edgekd.stage import Context, refuse_rivals

CHOOSING = ("trials", "supernet", "tas", "kdl-darts")
"""Stages that choose anew what the search has chosen; a recipe has one of them at most."""


class Row(Schema):
    """What one network of the space is predicted to cost."""

    role: str = Field(description="smallest, middle, teacher or chosen")
    spec: ModelSpec
    scheme: str
    runtime: str
    latency: Figure = Field(description="predicted, corrected by the last round, before any pruning")
    pruned_ms: float = Field(description="the same after the speed-up pruning is expected to bring, and can")
    fits: bool
    macs: int
    parameters: int

    def text(self) -> str:
        """Return the row in words."""
        size = f"{self.macs / 1e6:.3g} MMACs, {self.parameters / 1e3:.3g}k parameters"
        return f"{self.role} ({in_words(self.spec)}; {size}): {self.latency.text()} ms, {self.scheme} on {self.runtime}"


class Feasibility(Schema):
    """Whether the latency limit can be met, told by the corners of the search space before any training."""

    limit_ms: float | None
    correction: float
    prune_speedup: float
    margin: float
    rows: tuple[Row, ...]

    @property
    def reachable(self) -> bool:
        """Return whether the smallest network is predicted to fit."""
        return self.rows[0].fits

    def text(self) -> str:
        """Return the table in one line."""
        limit = "no latency limit" if self.limit_ms is None else f"limit {self.limit_ms:.3g} ms"
        return f"{limit}, pruning expected to bring {self.prune_speedup:g}x; " + "; ".join(r.text() for r in self.rows)

    def lines(self) -> str:
        """Return the table for a terminal, one network a line."""
        return "\n".join(["feasibility, before any training:", *(f"  {row.text()}" for row in self.rows)])


@dataclass(frozen=True)
class Judge:
    """Predicts candidates under one limit."""

    predictor: Predictor
    schemes: Sequence[str]
    step: int
    limit_ms: float | None
    correction: float
    prune_speedup: float
    margin: float

    @classmethod
    def of(cls, profile: Profile, context: Context, prune_speedup: float | None, margin: float) -> Judge:
        """Return who judges by the measured probes of a run."""
        budget = context.recipe.budget
        expected = 1.5 if "prune" in context.recipe.stages else 1.0
        return cls(
            Predictor.fit(profile, context.target, budget.percentile),
            schemes(context),
            step(context),
            limit_ms(budget, profile),
            context.correction,
            prune_speedup or expected,
            margin,
        )

    def row(self, role: str, candidate: Candidate) -> Row:
        """Return what a candidate is predicted to cost."""
        scheme, runtime, figure = self.predictor.best(candidate.kernels, self.schemes)
        latency = self._corrected(figure)
        pruned = max(latency.value / self.prune_speedup, min(latency.value, self._floor_ms(candidate)))
        return Row(
            role=role,
            spec=candidate.spec.replace(weights=None),
            scheme=scheme,
            runtime=runtime,
            latency=latency,
            pruned_ms=pruned,
            fits=self.limit_ms is None or pruned <= self.limit_ms * self.margin,
            macs=macs(candidate.kernels),
            parameters=candidate.parameters,
        )

    def _floor_ms(self, candidate: Candidate) -> float:
        """Return the latency below which pruning cannot bring a network, because a step of every width stays."""
        left = narrowest(candidate.kernels, self.step)
        return self.predictor.best(left, self.schemes)[2].value * self.correction

    def _corrected(self, figure: Figure) -> Figure:
        bounds = {key: getattr(figure, key) for key in ("value", "lower", "upper")}
        return figure.replace(**{key: None if v is None else v * self.correction for key, v in bounds.items()})

    @property
    def engines(self) -> list[tuple[str, str]]:
        """Return scheme and runtime of every engine that may ship."""
        return [pair for pair in self.predictor.pairs if pair[0] in self.schemes]

    def each_ms(self, kernels: Sequence[Kernel]) -> NDArray[np.float64]:
        """Return the corrected latency of every engine that may ship, (engines,); of none it is that of the call."""
        return np.array([self.predictor.latency_ms(kernels, *pair).value for pair in self.engines]) * self.correction

    def least(self, candidate: Candidate, pruned: bool) -> Figure:
        """Return the latency a candidate is predicted to have at best, where `pruned` with all pruning may take."""
        kernels = narrowest(candidate.kernels, self.step) if pruned else candidate.kernels
        return self._corrected(self.predictor.best(kernels, self.schemes)[2])

    def added(self, kernels: Sequence[Kernel], scheme: str, runtime: str) -> Figure:
        """Return what kernels are predicted to add to the latency of an engine that has others."""
        return self._corrected(self.predictor.added_ms(kernels, scheme, runtime))

    @property
    def aim_ms(self) -> float | None:
        """Return the latency before any pruning that is aimed at; None where there is no limit."""
        return None if self.limit_ms is None else self.limit_ms * self.margin * self.prune_speedup

    def choose(self, choices: Sequence[Candidate]) -> Row:
        """Return the last of the choices, ordered by cost, that fits; the first where none does."""
        rows = (self.row("chosen", candidate) for candidate in reversed(choices))
        return next((row for row in rows if row.fits), self.row("chosen", choices[0]))

    def feasibility(self, choices: Sequence[Candidate], teacher: Candidate, chosen: Row | None) -> Feasibility:
        """Return the table of the smallest and the middle choice, the teacher and, where there is one, the chosen."""
        rows = [
            self.row("smallest", choices[0]),
            self.row("middle", choices[len(choices) // 2]),
            self.row("teacher", teacher),
        ]
        return Feasibility(
            limit_ms=self.limit_ms,
            correction=self.correction,
            prune_speedup=self.prune_speedup,
            margin=self.margin,
            rows=(*rows, *([chosen] if chosen else [])),
        )


def refuse_out_of_place(stage: str, losses: object, artifacts: ArtifactSet, context: Context) -> None:
    """Raise UsageError where a stage that chooses the student anew does not stand alone between search and distill."""
    rivals = [name for name in CHOOSING if name != stage]
    refuse_rivals(stage, rivals, "choose the student", context)
    if not artifacts.all(network="probes", written_as="profile") or not artifacts.all(written_as="choice"):
        raise UsageError(
            f"stage {stage} chooses again what the stage 'search' has chosen; put that before it, student: auto"
        )
    if losses and not artifacts.all(network="teacher", scheme="fp32", written_as="torch"):
        raise UsageError(f"stage {stage} needs a teacher; put the stage 'teacher' before it or set losses: {{}}")
    named = context.recipe.stages.get("distill", {}).get("student", "auto")
    if "distill" not in context.recipe.stages or named != "auto":
        raise UsageError(
            f"stage {stage} finds a student for the stage 'distill'; put that after it, with student: auto"
        )


def stored(  # noqa: PLR0917 - what is known of a choice
    chosen: Row,
    why: str,
    made_by: str,
    context: Context,
    parents: tuple[str, ...] = (),
    weights: str | None = None,
) -> Artifact:
    """Write the choice of a student into the stage's folder, and return its artifact.

    `weights` is a file of that folder, by its name, with which the student begins.
    """
    path = context.folder / "choice.json"
    write_json(chosen.spec.replace(weights=weights), path)
    return context.store(
        path,
        network="distilled",
        format="choice",
        made_by=made_by,
        parents=parents,
        figures=(chosen.latency,),
        notes={"choice": why},
    )


def schemes(context: Context) -> list[str]:
    """Return the arithmetic the shipped network may use: integers only where the recipe quantizes."""
    integers = context.target.schemes() if "quantize" in context.recipe.stages else ()
    return [*context.target.float_schemes(), *integers]


def step(context: Context) -> int:
    """Return the channel step that suits every arithmetic the network may end in."""
    return max(step_of(context.target, scheme) for scheme in schemes(context))


def beyond_doubt(predicted: Figure) -> float:
    """Return the latency below which a limit lies clearly under a prediction.

    It is as many times below, twice over, as the upper bound is above: a lower bound of zero, which few probes give,
    would never refuse anything.
    """
    upper = predicted.upper or predicted.value
    return predicted.value * (predicted.value / upper) ** 2


def in_words(spec: ModelSpec) -> str:
    """Return a network's name and options."""
    return f"{spec.name or spec.factory} " + ", ".join(f"{key} {value}" for key, value in spec.options.items())
