"""The artifact a stage that prunes makes, and the network it prunes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import nn

from edgekd.artifact import Artifact, ArtifactSet
from edgekd.figure import Figure
from edgekd.models.kernels import kernels, macs, parameters
from edgekd.stage import Context
from edgekd.train import checkpoint, data
from edgekd.train.judging import judged


def keep(
    model: nn.Module,
    accuracy_percent_cut: float,
    parent: Artifact,
    context: Context,
    *,
    made_by: str,
    figures: Iterable[Figure] = (),
    notes: Mapping[str, str],
    network: str = "pruned",
    extra: dict[str, Any] | None = None,
) -> Artifact:
    """Save a pruned network in the stage's folder and return its artifact `<network>/fp32/torch`.

    `accuracy_percent_cut` is that on validation after the last cut; the artifact has it, the accuracy now, parameters
    and multiplications, and then `figures`. `extra` is saved with the network's description.
    """
    dataset = data.load(context.recipe.data)
    folder, origin = context.folder / network, context.origin_here
    spec = checkpoint.describe(context.path(parent)).spec
    probe = torch.from_numpy(data.recorded(dataset))
    checkpoint.save(model, folder, spec, dataset.input_shape, dataset.classes, probe, extra)
    cut = Figure(
        name="accuracy_percent_cut", value=accuracy_percent_cut, origin=origin, samples=len(dataset.validation)
    )
    counts = {"parameters": parameters(model), "macs": macs(kernels(model, dataset.input_shape))}
    counted = (Figure(name=name, value=value, origin="counted") for name, value in counts.items())
    return context.store(
        folder,
        network=network,
        format="torch",
        inputs=parent.inputs,
        outputs=parent.outputs,
        parents=(parent.key,),
        made_by=made_by,
        figures=(*judged(model, dataset, origin), cut, *counted, *figures),
        notes=dict(notes),
    )


def newest_float(artifacts: ArtifactSet, made: str = "pruned") -> Artifact:
    """Return the network to prune; what an earlier round has `made` is not pruned again."""
    unpruned = [artifact for artifact in artifacts.artifacts if artifact.network != made]
    return ArtifactSet(artifacts=tuple(unpruned)).newest(scheme="fp32", written_as="torch")
