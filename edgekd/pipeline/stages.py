"""The stages of a run: a closed set, in the one order that works."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from edgekd.artifact import Artifact, ArtifactSet, Format
from edgekd.distill.stage import DistillStage
from edgekd.errors import UsageError, suggestion
from edgekd.export.stage import ExportStage
from edgekd.measure.stage import MeasureStage
from edgekd.predict.stage import PredictStage
from edgekd.prune.cofi.stage import CofiStage
from edgekd.prune.multiplex.stage import MultiplexStage
from edgekd.prune.sparsify import SparsifyStage
from edgekd.prune.stage import PruneStage
from edgekd.quantize.stage import QuantizeStage
from edgekd.recipe import Recipe, Source
from edgekd.schema import Schema, from_mapping
from edgekd.search.kdl_darts.stage import KdlDartsStage
from edgekd.search.stage import SearchStage
from edgekd.search.supernet.stage import SupernetStage
from edgekd.search.tas.stage import TasStage
from edgekd.search.trials import TrialsStage
from edgekd.stage import Context, Stage
from edgekd.train import data
from edgekd.train.loop import LoopConfig
from edgekd.train.stage import TeacherStage

STAGES: tuple[type[Stage[Any]], ...] = (
    SearchStage,  # measures a handful of untrained engines, chooses the student's size; refuses before any training
    TeacherStage,  # the network that is to be compressed: trained once, or loaded
    TrialsStage,  # trains several students for a while, and chooses again among those that fit
    SupernetStage,  # or: trains all networks of a space at once, and chooses by their answers (experimental)
    TasStage,  # or: descends to widths and depth that cost what they may, and chooses those (experimental)
    KdlDartsStage,  # or: chooses every cell by gradient, under the teacher and the target's costs (experimental)
    DistillStage,  # trains the student under the teacher
    PruneStage,  # removes what costs most and matters least, recovers under the teacher
    CofiStage,  # or: trains masks on an encoder's parts until a sparsity is reached, and cuts them (experimental)
    MultiplexStage,  # or: lets transformer blocks share weights, and trains them under the network (experimental)
    SparsifyStage,  # sets two of every four weights to zero, for targets that skip them (experimental)
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
    "cofi": (("pruned", "torch"),),
    "multiplex": (("pruned", "torch"),),
    "sparsify": (("sparse", "torch"),),
    "export": (("teacher", "onnx"),),
    "measure": (("measured", "profile"),),
}


def refuse_early(stages: list[Stage[Any]], context: Context, source: Source | None = None) -> None:
    """Let every stage refuse before the first one trains for hours, as if those before it had kept their promises.

    `source` says where in the recipe's file the mistake stands.
    """
    promised = ArtifactSet()
    for stage in stages:
        with (source or Source()).located(f"stages.{stage.name}"):
            stage.requires(promised, context)
            _refuse_large_batches(stage, context)
        for network, written_as in _PROMISES.get(stage.name, ()):
            if written_as != "choice" or getattr(stage.config, "student", None) == "auto":
                promise = Artifact(network=network, format=written_as, path="", digest="", made_by=stage.name)
                promised = promised.add(promise)


def _refuse_large_batches(stage: Stage[Any], context: Context) -> None:
    """Refuse a batch that was asked for and cannot be filled; one that nobody chose shrinks to what there is."""
    samples = len(data.load(context.recipe.data).train)
    for path, loop in loops(stage.config, f"stages.{stage.name}"):
        if "batch" in loop.model_fields_set and loop.batch > samples:
            raise UsageError(
                f"{path}.batch = {loop.batch}, but there are {samples} training images; ask for {samples} at most",
                f"{path}.batch",
            )


def loops(config: Schema, path: str) -> Iterator[tuple[str, LoopConfig]]:
    """Yield the trainings among a stage's options, each with its dotted key."""
    if isinstance(config, LoopConfig):
        yield path, config
    for name in type(config).model_fields:
        value: Any = getattr(config, name)
        if isinstance(value, Schema):
            yield from loops(value, f"{path}.{name}")


def configured(recipe: Recipe, source: Source | None = None, *, elsewhere: bool = False) -> list[Stage[Any]]:
    """Return the stages of a recipe with their options; raises UsageError for unknown stages and options.

    For a target that is `elsewhere` the last one predicts what it cannot measure.
    """
    source = source or Source()
    known = {kind.name: kind for kind in STAGES}
    for name in recipe.stages:
        if name not in known:
            with source.located("stages"):
                raise UsageError(f"unknown stage '{name}' in the recipe; {suggestion(name, known)}", name)
    stages: list[type[Stage[Any]]] = [PredictStage if elsewhere and k is MeasureStage else k for k in STAGES]
    chosen = [kind for kind in stages if kind.name in recipe.stages or kind.name in _ALWAYS]
    return [
        kind(
            from_mapping(
                kind.Config, recipe.stages.get(kind.name, {}), source.file, source.lines, f"stages.{kind.name}"
            )
        )
        for kind in chosen
    ]
