"""The stages of a run: a closed set, in the one order that works."""

from __future__ import annotations

from typing import Any

from edgekd.artifact import Artifact, ArtifactSet, Format
from edgekd.distill.stage import DistillStage
from edgekd.errors import UsageError, suggestion
from edgekd.export.stage import ExportStage
from edgekd.measure.stage import MeasureStage
from edgekd.prune.stage import PruneStage
from edgekd.quantize.stage import QuantizeStage
from edgekd.recipe import Recipe
from edgekd.schema import from_mapping
from edgekd.search.stage import SearchStage
from edgekd.stage import Context, Stage
from edgekd.train.stage import TeacherStage

STAGES: tuple[type[Stage[Any]], ...] = (
    TeacherStage,  # the network that is to be compressed: trained once, or loaded
    SearchStage,  # measures a handful of untrained engines, chooses the student's size
    DistillStage,  # trains the student under the teacher
    PruneStage,  # removes what costs most and matters least, recovers under the teacher
    QuantizeStage,  # integers, as the target's runtimes want them
    ExportStage,  # one engine a network, arithmetic and runtime; each computes what its network computes
    MeasureStage,  # latency, memory and accuracy of the built engines
)
_ALWAYS = {"teacher", "export", "measure"}
_PROMISES: dict[str, tuple[tuple[str, Format], ...]] = {
    "teacher": (("teacher", "torch"),),
    "search": (("probes", "profile"), ("distilled", "choice")),
    "distill": (("distilled", "torch"),),
    "prune": (("pruned", "torch"),),
    "export": (("teacher", "onnx"),),
    "measure": (("measured", "profile"),),
}


def refuse_early(stages: list[Stage[Any]], context: Context) -> None:
    """Let every stage refuse before the first one trains for hours, as if those before it had kept their promises."""
    promised = ArtifactSet()
    for stage in stages:
        stage.requires(promised, context)
        for network, written_as in _PROMISES.get(stage.name, ()):
            if written_as != "choice" or getattr(stage.config, "student", None) == "auto":
                promise = Artifact(network=network, format=written_as, path="", digest="", made_by=stage.name)
                promised = promised.add(promise)


def configured(recipe: Recipe) -> list[Stage[Any]]:
    """Return the stages of a recipe with their options; raises UsageError for unknown stages and options."""
    known = {kind.name: kind for kind in STAGES}
    for name in recipe.stages:
        if name not in known:
            raise UsageError(f"unknown stage '{name}' in the recipe; {suggestion(name, known)}")
    chosen = [kind for kind in STAGES if kind.name in recipe.stages or kind.name in _ALWAYS]
    return [kind(from_mapping(kind.Config, recipe.stages.get(kind.name, {}), f"stages.{kind.name}")) for kind in chosen]
