"""The artifact a stage that prunes makes, and the network it prunes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

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
) -> Artifact:
    """Save a pruned network in the stage's folder and return its artifact `pruned/fp32/torch`.

    `accuracy_percent_cut` is that on validation after the last cut; the artifact has it, the accuracy now, parameters
    and multiplications, and then `figures`.
    """
    dataset = data.load(context.recipe.data)
    folder, origin = context.folder / "pruned", context.origin_here
    spec = checkpoint.describe(context.path(parent)).spec
    probe = torch.from_numpy(data.recorded(dataset))
    checkpoint.save(model, folder, spec, dataset.input_shape, dataset.classes, probe)
    cut = Figure(
        name="accuracy_percent_cut", value=accuracy_percent_cut, origin=origin, samples=len(dataset.validation)
    )
    counts = {"parameters": parameters(model), "macs": macs(kernels(model, dataset.input_shape))}
    counted = (Figure(name=name, value=value, origin="counted") for name, value in counts.items())
    return context.store(
        folder,
        network="pruned",
        format="torch",
        inputs=parent.inputs,
        outputs=parent.outputs,
        parents=(parent.key,),
        made_by=made_by,
        figures=(*judged(model, dataset, origin), cut, *counted, *figures),
        notes=dict(notes),
    )


def newest_float(artifacts: ArtifactSet) -> Artifact:
    """Return the network to prune; one that an earlier round has pruned is not pruned again."""
    unpruned = [artifact for artifact in artifacts.artifacts if artifact.network != "pruned"]
    return ArtifactSet(artifacts=tuple(unpruned)).newest(scheme="fp32", written_as="torch")
