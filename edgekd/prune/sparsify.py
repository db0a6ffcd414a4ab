"""The sparsify stage: two of every four weights become zero, for targets that skip them; experimental."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import ClassVar, NamedTuple

import torch
from torch import nn

from edgekd.artifact import ArtifactSet
from edgekd.distill.teach import TeachConfig, refuse_unknown, teach
from edgekd.errors import EdgekdError, UsageError
from edgekd.figure import Figure
from edgekd.models.stand_in import opened
from edgekd.models.two_of_four import KEY, largest, layers, share
from edgekd.prune.keeping import keep, newest_float
from edgekd.prune.schedule import percent
from edgekd.prune.selection import fits, refuse_patterns
from edgekd.schema import Field, Schema
from edgekd.stage import Context, Stage
from edgekd.target import Target
from edgekd.train import checkpoint, data
from edgekd.train.fixed_zeros import zeros_stay

log = logging.getLogger("edgekd")


class SparsifyConfig(Schema):
    """Which layers become 2:4, and how the network recovers."""

    include: tuple[str, ...] = Field(
        default=("*",), description="layers that become 2:4, by patterns of their names such as 'blocks.*'"
    )
    exclude: tuple[str, ...] = Field(default=(), description="layers that stay dense, by patterns of their names")
    anyway: bool = Field(
        default=False, description="also for a target that skips no zeros, where they only cost accuracy"
    )
    recovery: TeachConfig | None = Field(
        default=TeachConfig(epochs=8, learning_rate=0.05), description="training with fixed zeros; null: none"
    )


class Chosen(NamedTuple):
    """The layers of a network, by path."""

    sparse: dict[str, nn.Parameter]
    """Weights that become 2:4, each by its own path."""
    dense: dict[str, str]
    """Why the others stay dense."""


class SparsifyStage(Stage[SparsifyConfig]):
    """Makes the newest float network 2:4 and lets it recover: artifact `sparse` in fp32.

    After Mishra et al. 2021, 'Accelerating Sparse Deep Neural Networks' (arXiv 2104.08378). Theirs are the pattern, the
    choice by magnitude, made once, and the training after it with these zeros fixed. Theirs repeats the whole training
    of the dense network; ours is as short as the recovery from pruning, under the teacher. That a layer whose inputs
    are no multiple of four stays dense is ours as well, and so is the refusal where no kernel would skip the zeros.
    """

    name: ClassVar[str] = "sparsify"
    Config: ClassVar[type[Schema]] = SparsifyConfig

    def requires(self, artifacts: ArtifactSet, context: Context) -> None:
        """Refuse a target that skips no zeros, and unknown options of the recovery."""
        del artifacts
        if not self.config.anyway:
            _refuse_in_vain(context.target)
        if self.config.recovery is not None:
            refuse_unknown(self.config.recovery)

    def run(self, artifacts: ArtifactSet, context: Context) -> ArtifactSet:
        """Return the artifacts with `sparse/fp32/torch` added; raises UsageError where no layer can be 2:4."""
        log.warning("stage 'sparsify' is experimental: no engine that skips zeros was measured; see docs/pruning.md")
        dataset = data.load(context.recipe.data)
        parent = newest_float(artifacts, made="sparse")
        model = opened(checkpoint.load(context.path(parent)))
        chosen = self._chosen(model)
        halve(chosen.sparse)
        before = percent(model, dataset)
        log.info("sparsify: %d layers are 2:4, %.2f %% without training", len(chosen.sparse), before)
        if self.config.recovery is not None:
            folder = context.folder / "recovery"
            with zeros_stay(chosen.sparse):
                teach(model, artifacts, context, self.config.recovery, folder=folder, title="recover with fixed zeros")
        zeros = sum(int((weight == 0).sum()) for weight in chosen.sparse.values())
        whole = sum(parameter.numel() for parameter in model.parameters())
        sparse = keep(
            model,
            before,
            parent,
            context,
            made_by=self.name,
            figures=(Figure(name="sparsity", value=zeros / whole, origin="counted"),),
            notes={
                "two_of_four": ", ".join(path.removesuffix(".weight") for path in chosen.sparse),
                "dense": "; ".join(f"{path}: {reason}" for path, reason in chosen.dense.items()) or "none",
            },
            network="sparse",
            extra={**checkpoint.describe(context.path(parent)).extra, KEY: list(chosen.sparse)},
        )
        return artifacts.add(sparse)

    def ensures(self, artifacts: ArtifactSet, context: Context) -> None:
        """Prove that every chosen weight is 2:4; the export stage proves it of the ONNX files."""
        for artifact in artifacts.all(network="sparse", written_as="torch", scheme="fp32"):
            folder = context.path(artifact)
            model, paths = checkpoint.load(folder), checkpoint.describe(folder).extra.get(KEY, [])
            lost = [path for path in paths if share(model.get_parameter(path).detach().numpy()) < 1]
            if lost or not paths:
                raise EdgekdError(f"{artifact.key} is not 2:4: {', '.join(lost) or 'no layer of it was chosen'}")

    def _chosen(self, model: nn.Module) -> Chosen:
        """Raise UsageError for a pattern that fits no layer, and where none is left."""
        found = layers(model)
        include, exclude = self.config.include, self.config.exclude
        refuse_patterns(self.name, "2:4", [*found.fitting, *found.dense], include, exclude)
        chosen = Chosen({}, dict(found.dense))
        for path, weight in found.fitting.items():
            if fits([path], exclude):
                chosen.dense[path] = "excluded by the recipe"
            elif not fits([path], include):
                chosen.dense[path] = "not included by the recipe"
            else:
                chosen.sparse[f"{path}.weight".lstrip(".")] = weight
        if not chosen.sparse:
            said = "; ".join(f"{path}: {reason}" for path, reason in chosen.dense.items()) or "it has no such layer"
            raise UsageError(f"stages.sparsify: no convolution and no linear layer of this network can be 2:4: {said}")
        return chosen


def halve(weights: Mapping[str, nn.Parameter]) -> None:
    """Set the two smallest of every four weights to zero, in place."""
    with torch.no_grad():
        for weight in weights.values():
            kept = torch.from_numpy(largest(weight.detach().cpu().numpy())).to(weight.device)
            weight.masked_fill_(~kept, 0.0)


def _refuse_in_vain(target: Target) -> None:
    fact = target.sparsity
    if fact is not None and fact.pays:
        return
    told = "nobody says whether it skips zeros" if fact is None else f"it skips no zeros ({fact.source})"
    raise UsageError(
        f"stages.sparsify: 2:4 sparsity would cost accuracy and save nothing on {target.name}: {told}; leave the stage "
        "out, choose a target with sparse tensor cores such as jetson-orin-nano, or set anyway: true"
    )
