"""The multiplex stage: consecutive blocks get one set of weights and learn to be what they were; experimental."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import torch
from torch import nn

from edgekd.artifact import ArtifactSet
from edgekd.errors import EdgekdError, UsageError
from edgekd.models.build import build
from edgekd.prune.keeping import keep, newest_float
from edgekd.prune.multiplex.config import ImitationConfig, MultiplexConfig
from edgekd.prune.multiplex.imitation import Imitation
from edgekd.prune.multiplex.network import groups, multiplexed
from edgekd.prune.schedule import percent
from edgekd.schema import Schema, digest_of
from edgekd.stage import Context, Stage, refuse_rivals
from edgekd.train import checkpoint, data
from edgekd.train.augment import augmentation
from edgekd.train.batches import AugmentedBatches
from edgekd.train.evaluate import logits
from edgekd.train.loop import train
from edgekd.train.optimizer import chosen
from edgekd.train.task import task_called

log = logging.getLogger("edgekd")


class MultiplexStage(Stage[MultiplexConfig]):
    """Lets the blocks of the newest float transformer share weights: artifact `pruned`, smaller and no faster.

    After MiniViT (Zhang et al. 2022, 'MiniViT: Compressing Vision Transformers with Weight Multiplexing', CVPR, arXiv
    2204.07154).
    """

    name: ClassVar[str] = "multiplex"
    Config: ClassVar[type[Schema]] = MultiplexConfig

    def requires(self, artifacts: ArtifactSet, context: Context) -> None:
        """Refuse stages that do not go with it, an unknown optimizer, and a network that is known and will not do."""
        del artifacts
        refuse_rivals(self.name, ("prune", "cofi"), "make the pruned network", context)
        if "quantize" in context.recipe.stages:
            raise UsageError(
                "the stage 'quantize' rounds the weights of every layer by what this layer multiplies, and those that "
                "'multiplex' lets layers share would be theirs no longer; leave one of the stages out"
            )
        if self.config.recovery is not None:
            chosen(self.config.recovery)
        if not {"search", "distill"} & context.recipe.stages.keys():
            dataset = data.load(context.recipe.data)
            with torch.random.fork_rng(devices=[]):
                groups(
                    build(context.recipe.model.replace(weights=None), dataset.input_shape, dataset.classes),
                    self.config.share,
                )

    def run(self, artifacts: ArtifactSet, context: Context) -> ArtifactSet:
        """Return the artifacts with `pruned/fp32/torch` added.

        Raises UsageError for a network without blocks that can share weights.
        """
        log.warning(
            "stage 'multiplex' is experimental: it saves bytes, not milliseconds, and has not been shown to beat a "
            "network of fewer layers; see docs/pruning.md"
        )
        dataset = data.load(context.recipe.data)
        parent = newest_float(artifacts)
        origin = checkpoint.load(context.path(parent))
        together = groups(origin, self.config.share)
        model = multiplexed(origin, dataset.input_shape, self.config)
        before = percent(model, dataset)
        log.info("multiplex: %.2f %% before its training", before)
        if self.config.recovery is not None:
            folder = context.folder / "recovery" / digest_of([parent.digest, context.recipe.seed])[:16]
            blocks = [(paths[-1], paths[-1]) for paths in together]
            imitate(model, origin, blocks, context, self.config.recovery, folder=folder)
        notes = {"shared": "; ".join(" = ".join(paths) for paths in together)}
        return artifacts.add(keep(model, before, parent, context, made_by=self.name, notes=notes))

    def ensures(self, artifacts: ArtifactSet, context: Context) -> None:
        """Prove that there are fewer parameters where blocks share them."""
        for artifact in artifacts.all(network="pruned", written_as="torch"):
            parent = next(a for a in artifacts.artifacts if a.key == artifact.parents[0])
            before, after = (checkpoint.describe(context.path(a)).parameters for a in (parent, artifact))
            if after >= before and self.config.share > 1:
                raise EdgekdError(f"sharing weights saved nothing: {before} parameters before, {after} after")


def imitate(
    model: nn.Module,
    origin: nn.Module,
    blocks: Sequence[tuple[str, str]],
    context: Context,
    config: ImitationConfig,
    *,
    folder: Path,
) -> None:
    """Train `model` in place on the run's data under its origin, which is trained no more.

    `blocks` are the paths of those that are compared, in the network and in its origin.
    """
    dataset, seed = data.load(context.recipe.data), context.recipe.seed
    task = task_called(dataset.task)
    objective = Imitation(origin, blocks, task, config)
    if objective.looks_inside:
        config = config.replace(compile="never")  # a compiled network does not run its modules one by one
    inputs, labels = data.normalised(dataset.train, dataset), dataset.train.labels
    batches = AugmentedBatches(
        inputs, labels, batch=config.batch, augmentation=augmentation(context.recipe.data), seed=seed
    )

    def score(network: nn.Module) -> float:
        found = logits(network, data.normalised(dataset.validation, dataset))
        return task.score(found, dataset.validation.labels)

    torch.manual_seed(seed)
    train(
        model,
        batches,
        objective,
        config,
        folder=folder,
        title="recover after multiplexing",
        progress=context.progress,
        score=None if config.patience is None else score,
    )
