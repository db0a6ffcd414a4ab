"""The cofi stage: masks trained to an asked sparsity, cut, and the rest fine-tuned under the teacher; experimental."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import ClassVar

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from edgekd.artifact import ArtifactSet
from edgekd.disk import whole_file
from edgekd.distill.teach import refuse_unknown, teach
from edgekd.errors import EdgekdError, UsageError
from edgekd.figure import Figure
from edgekd.models.stand_in import opened
from edgekd.prune.cofi.config import CofiConfig
from edgekd.prune.cofi.plan import LAYERS, Plan, plan
from edgekd.prune.cofi.removal import cut
from edgekd.prune.cofi.rounding import rounded
from edgekd.prune.cofi.training import MaskTraining
from edgekd.prune.keeping import keep, newest_float
from edgekd.prune.schedule import percent
from edgekd.prune.trial import prunable
from edgekd.schema import Schema
from edgekd.stage import Context, Stage, refuse_rivals
from edgekd.train import checkpoint, data
from edgekd.train.augment import augmentation
from edgekd.train.batches import AugmentedBatches
from edgekd.train.dataset import DataSet
from edgekd.train.task import task_called

log = logging.getLogger("edgekd")

TOLERANCE = 0.01
"""How far the reached sparsity may be from the asked one."""
_SEEN = 4
"""Training inputs on which a cut is compared with the masked network."""


class CofiStage(Stage[CofiConfig]):
    """Prunes the newest float transformer by masks of layers, heads, units and hidden dimensions: artifact `pruned`.

    After CoFi (Xia, Zhong and Chen 2022, 'Structured Pruning Learns Compact and Accurate Models', arXiv 2204.00408).
    """

    name: ClassVar[str] = "cofi"
    Config: ClassVar[type[Schema]] = CofiConfig

    def requires(self, artifacts: ArtifactSet, context: Context) -> None:
        """Refuse another stage that prunes, and unknown options of the training after the cut."""
        del artifacts
        refuse_rivals(self.name, ("prune",), "make the pruned network", context)
        config, samples = self.config, len(data.load(context.recipe.data).train)
        if "batch" in config.model_fields_set and config.batch > samples:
            raise UsageError(
                f"stages.cofi.batch = {config.batch}, but there are {samples} training samples; ask for {samples} "
                "at most"
            )
        if not (config.label_weight or config.logits_weight or config.layer_weight):
            raise UsageError(
                "stages.cofi: nothing to learn from: give a label_weight, logits_weight or layer_weight above 0"
            )
        if config.finetune is not None:
            refuse_unknown(config.finetune)

    def run(self, artifacts: ArtifactSet, context: Context) -> ArtifactSet:
        """Return the artifacts with `pruned/fp32/torch` added.

        Raises UsageError for a network without attention that can lose heads.
        """
        log.warning(
            "stage 'cofi' is experimental: it has not been shown to beat the stage 'prune'; see docs/pruning.md"
        )
        dataset = data.load(context.recipe.data)
        parent = newest_float(artifacts)
        model = opened(checkpoint.load(context.path(parent)))
        planned = plan(model, prunable(model, dataset.input_shape))
        training = self._trained(model, planned, dataset, context)
        values = rounded(planned, training.counted, training.masks.log_alpha, self.config.sparsity)
        seen = torch.from_numpy(data.normalised(dataset.train, dataset)[:_SEEN])
        pruned = cut(model, planned, values, seen)
        reached = training.counted.sparsity_of(pruned)
        before = percent(pruned, dataset)
        log.info("cofi: sparsity %.4f, %.2f %% after the cut", reached, before)
        if self.config.finetune is not None:
            folder = context.folder / "finetune"
            teach(pruned, artifacts, context, self.config.finetune, folder=folder, title="fine-tune after CoFi")
        sparsity = Figure(name="sparsity", value=reached, origin="counted")
        notes = {"sparsity_of": f"{training.counted.total} parameters of attention and feed-forward layers"}
        notes |= described(planned, values)
        return artifacts.add(keep(pruned, before, parent, context, made_by=self.name, figures=(sparsity,), notes=notes))

    def ensures(self, artifacts: ArtifactSet, context: Context) -> None:
        """Prove that the asked sparsity was reached."""
        del context
        for artifact in artifacts.all(network="pruned", written_as="torch"):
            reached = artifact.figure("sparsity")
            if reached is None or abs(reached.value - self.config.sparsity) > TOLERANCE:
                raise EdgekdError(
                    f"stages.cofi.sparsity: {self.config.sparsity:g} was asked for, and the nearest that whole "
                    f"channels of this network gave is {'unknown' if reached is None else f'{reached.value:.3f}'}"
                )

    def _trained(self, model: nn.Module, planned: Plan, dataset: DataSet, context: Context) -> MaskTraining:
        """Train masks and weights, or take them from the stage's folder where they are finished."""
        seed, config = context.recipe.seed, self.config
        training = MaskTraining(model, planned, config, task_called(dataset.task), seed)
        file = context.folder / "masked.safetensors"
        if file.is_file():
            _restore(training, file)
            return training
        inputs, labels = data.normalised(dataset.train, dataset), dataset.train.labels
        augment = augmentation(context.recipe.data)
        batches = AugmentedBatches(inputs, labels, batch=config.batch, augmentation=augment, seed=seed)
        training.run(batches, context.progress)
        parts = {"model": training.model, "masks": training.masks}
        state = {f"{part}.{name}": _plain(own) for part, of in parts.items() for name, own in of.state_dict().items()}
        with whole_file(file) as unfinished:
            save_file(state, unfinished)
        return training


def described(planned: Plan, values: dict[str, Tensor]) -> dict[str, str]:
    """Return what the report says of masks: the layers that went, and the widths of what stays."""
    gone = [layer.group for layer, value in zip(planned.layers, values[LAYERS].tolist(), strict=True) if not value]
    widths = {
        name: (group.channels, int((values[name] > 0).sum()))
        for name, group in planned.groups.items()
        if name not in gone
    }
    return {
        "layers": ", ".join(gone) or "none taken out",
        "widths": ", ".join(f"{name} {a} -> {b}" for name, (a, b) in widths.items() if a != b) or "unchanged",
    }


def _restore(training: MaskTraining, file: Path) -> None:
    found = load_file(file)
    for part, module in (("model", training.model), ("masks", training.masks)):
        start = f"{part}."
        module.load_state_dict({k.removeprefix(start): v for k, v in found.items() if k.startswith(start)})
    training.model.eval()


def _plain(tensor: Tensor) -> Tensor:
    return tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
