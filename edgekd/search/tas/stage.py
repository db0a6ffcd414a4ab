"""The tas stage: a search for widths and depth by gradient descent, under the predicted latency; experimental."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np
import torch

from edgekd.artifact import Artifact, ArtifactSet
from edgekd.errors import UsageError
from edgekd.recipe import ModelSpec
from edgekd.schema import Field, Schema, digest_of, write_json
from edgekd.search.candidate import candidate
from edgekd.search.choice import Judge, Row, in_words, refuse_out_of_place, stored
from edgekd.search.shared_training import refuse_one_networks_options
from edgekd.search.stage import SearchConfig
from edgekd.search.tas.config import TasConfig
from edgekd.search.tas.cost import Tables
from edgekd.search.tas.decisions import Decisions
from edgekd.search.tas.landing import Landed, landed
from edgekd.search.tas.shapes import Family, Positions, Shapes
from edgekd.search.tas.supernet import Supernet
from edgekd.search.tas.training import Turns
from edgekd.stage import Context, Stage
from edgekd.train import data
from edgekd.train.augment import augmentation
from edgekd.train.batches import AugmentedBatches
from edgekd.train.dataset import DataSet, Split
from edgekd.train.loop import train
from edgekd.train.optimizer import chosen
from edgekd.train.task import task_called

log = logging.getLogger("edgekd")


class Decided(Schema):
    """One decision: what there was to choose from, and with which probability."""

    candidates: tuple[int, ...]
    probabilities: tuple[float, ...]


class Found(Schema):
    """What the search ended with."""

    limit_ms: float = Field(description="predicted, before any pruning, that a network may cost")
    tolerance: float
    widths: tuple[Decided, ...] = Field(description="of each stage of the network")
    blocks: tuple[Decided, ...] = Field(description="of each stage of the network")
    expected_ms: tuple[float, ...] = Field(description="expected cost at the end of each epoch; none without a search")
    likeliest: ModelSpec
    likeliest_ms: float
    rank: int = Field(description="how many networks are likelier than the chosen one")
    on_limit: bool = Field(description="whether the chosen one costs at most the tolerance less than the limit")
    chosen: Row
    images: int = Field(description="that trained weights")

    def text(self) -> str:
        """Return the result in one line."""
        how = "the likeliest network" if self.rank == 0 else f"number {self.rank + 1} by probability"
        said = (
            "" if self.rank == 0 else f"; the likeliest, {in_words(self.likeliest)}, costs {self.likeliest_ms:.3g} ms"
        )
        return f"{self.chosen.text()}, {how}, limit {self.limit_ms:.3g} ms{said}"


class TasStage(Stage[TasConfig]):
    """Finds widths and depth of a ResNet by gradient descent: a new choice in place of the search's.

    After Dong and Yang 2019, 'Network Pruning via Transformable Architecture Search' (arXiv 1905.09717). Ours: the cost
    is the predicted latency on the target, widths are multiples of its channel step, a stage of the network has one
    width, as the family has, and the logits learn from a share of the training split. Validation and test are not read.
    """

    name: ClassVar[str] = "tas"
    Config: ClassVar[type[Schema]] = TasConfig
    judges_cost: ClassVar[bool] = True

    def requires(self, artifacts: ArtifactSet, context: Context) -> None:
        """Need the search's probes, a space of ResNets, a stage that trains the student, and options that fit."""
        refuse_out_of_place(self.name, None, artifacts, context)
        choices = SearchConfig.of(context.recipe).space_of(context).choices()
        other = [spec.name or spec.factory for spec in choices if spec.name != "resnet"]
        if other:
            raise UsageError(
                f"stage tas knows widths and depths of ResNets only, and the search space holds '{other[0]}'; set "
                "stages.search.space: resnet, or try networks out with the stage 'trials'"
            )
        shrink = next((spec.options["shrink"] for spec in choices if "shrink" in spec.options), 1)
        if shrink > 1:
            raise UsageError(
                "stage tas knows networks that look at images as they are, and the search space holds one that "
                f"shrinks them by {shrink}; leave away shrinks, and a teacher's shrink, or try networks out with the "
                "stage 'trials'"
            )
        self._refuse_options(context)

    def _refuse_options(self, context: Context) -> None:
        config, dataset = self.config, data.load(context.recipe.data)
        chosen(config)
        refuse_one_networks_options(self.name, config)
        few = min(len(part) for part in _parts(dataset, config, context.recipe.seed))
        if few < 2 or ("batch" in config.model_fields_set and config.batch > few):
            raise UsageError(
                f"stages.tas.logits_share = {config.logits_share:g} of {len(dataset.train)} training samples leaves "
                f"{few} on one side, fewer than a batch of {config.batch}; change the share or the batch"
            )

    def run(self, artifacts: ArtifactSet, context: Context) -> ArtifactSet:
        """Train the logits and choose."""
        log.warning("stage 'tas' is experimental; see docs/search.md for what it has been shown to bring")
        search = _Search.of(self.config, SearchConfig.of(context.recipe).judge_from(artifacts, context), context)
        images = 0
        if search.shapes.count > 1:
            images = self._train(search, context)
        else:
            only = search.spec((0,) * len(search.shapes.decisions))
            log.warning("tas: %s is the only candidate, so there is nothing to search", in_words(only))
        return artifacts.add(_store(search.found(images), context))

    def _train(self, search: _Search, context: Context) -> int:
        """Train weights and logits in turns, or go on where that was stopped; return the images seen by weights."""
        config, seed, dataset = self.config, context.recipe.seed, search.dataset
        learning, held_out = (
            AugmentedBatches(
                data.normalised(part, dataset),
                part.labels,
                batch=config.batch,
                augmentation=augmentation(context.recipe.data),
                seed=own,
            )
            for part, own in zip(_parts(dataset, config, seed), (seed, seed + 1), strict=True)
        )
        steps = config.epochs * len(learning)
        turns = Turns(search.net, config, search.tables, search.limit_ms, task_called(dataset.task), held_out, steps)
        folder = context.folder / f"search-{search.key(context)[:16]}"
        torch.manual_seed(seed)
        history = train(
            search.net,
            learning,
            turns.objective,
            config,
            folder=folder,
            title="search widths and depth",
            progress=context.progress,
            on_step=turns,
        )
        return history.images


@dataclass(frozen=True)
class _Search:
    """What is searched among, and what it costs."""

    config: TasConfig
    judge: Judge
    limit_ms: float
    shapes: Shapes
    tables: Tables
    dataset: DataSet
    net: Supernet

    @classmethod
    def of(cls, config: TasConfig, judge: Judge, context: Context) -> _Search:
        """Return it for a run; raises UsageError where the recipe has no latency limit."""
        limit = judge.aim_ms
        if limit is None:
            raise UsageError("stage tas needs a latency limit; set budget.latency_ms or budget.latency_ratio")
        dataset = data.load(context.recipe.data)
        family = Family.of(dataset.image_shape, dataset.classes)
        space = SearchConfig.of(context.recipe).space_of(context)
        every = Shapes.around(space.choices(), space.config.step)
        shapes = every.within(
            lambda widths, blocks: judge.each_ms(family.kernels(widths, blocks)).min() <= limit, config.candidates
        )
        torch.manual_seed(context.recipe.seed)
        decisions = Decisions([len(own) for own in shapes.decisions], config.first_temperature, config.epochs)
        net = Supernet(shapes, dataset.image_shape[0], dataset.classes, decisions)
        return cls(config, judge, limit, shapes, Tables(judge.each_ms, family, shapes), dataset, net)

    def key(self, context: Context) -> str:
        """Return the digest of what else a search depends on, so that none goes on from another's state."""
        recipe, costs = context.recipe, self.tables.digest
        return digest_of([self.dataset.digest, recipe.data.plain(), recipe.seed, self.limit_ms, costs])

    def spec(self, positions: Positions) -> ModelSpec:
        """Return a network."""
        return self.shapes.of(positions).spec

    def row(self, positions: Positions) -> Row:
        """Return what a network is predicted to cost."""
        found = candidate("tas", self.spec(positions), self.dataset.image_shape, self.dataset.classes)
        return self.judge.row("found", found)

    @cached_property
    def _landed(self) -> Landed:
        logs = [own.log_softmax(0).tolist() for own in self.net.decisions.split()]
        return landed(
            logs, self.tables.of, lambda positions: self.row(positions).fits, self.limit_ms, self.config.tolerance
        )

    def found(self, images: int) -> Found:
        """Return what the search ended with."""
        decisions = self.net.decisions
        told = [
            Decided(candidates=own, probabilities=tuple(probabilities.tolist()))
            for own, probabilities in zip(self.shapes.decisions, decisions.probabilities(), strict=True)
        ]
        likeliest = decisions.likeliest()
        stages = len(self.shapes.widths)
        return Found(
            limit_ms=self.limit_ms,
            tolerance=self.config.tolerance,
            widths=tuple(told[:stages]),
            blocks=tuple(told[stages:]),
            expected_ms=tuple(decisions.costs.tolist()) if images else (),
            likeliest=self.spec(likeliest),
            likeliest_ms=self.tables.of(likeliest),
            rank=self._landed.rank,
            on_limit=self._landed.on_limit,
            chosen=self.row(self._landed.positions),
            images=images,
        )


def _parts(dataset: DataSet, config: TasConfig, seed: int) -> tuple[Split, Split]:
    """Return the training samples of the weights, and those of the logits."""
    order = np.random.default_rng(seed).permutation(len(dataset.train))
    held = round(config.logits_share * len(order))
    return dataset.train.take(np.sort(order[held:])), dataset.train.take(np.sort(order[:held]))


def _store(found: Found, context: Context) -> Artifact:
    write_json(found, context.folder / "tas.json")
    if not found.on_limit:
        log.warning("tas: no network of the candidates costs what it may; taken was %s", found.chosen.text())
    return stored(found.chosen, found.text(), TasStage.name, context)
