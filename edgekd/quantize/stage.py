"""The stage that turns the newest float network into integers, one variant a scheme of the target."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import nn

from edgekd.artifact import Artifact, ArtifactSet, TensorSpec
from edgekd.distill.teach import TeachConfig, refuse_unknown, teach
from edgekd.export.onnx_file import INPUT, OUTPUT, write
from edgekd.figure import Figure
from edgekd.models.two_of_four import KEY
from edgekd.placement.scheme import Scheme, scheme_named
from edgekd.quantize import checkpoint as checkpoint_of_variant
from edgekd.quantize.calibration import CalibrationConfig
from edgekd.quantize.emission import freeze
from edgekd.quantize.layerwise import compare_layers
from edgekd.quantize.observer import create as create_observer
from edgekd.quantize.prepare import calibrate, prepare
from edgekd.quantize.qat import Outcome, When, train_where_needed
from edgekd.quantize.saturation import refuse_saturating, saturation
from edgekd.quantize.tapping import tapped
from edgekd.quantize.torch_network import TorchNetwork
from edgekd.quantize.unfold import refold, unfold
from edgekd.runtime.session import RUNTIMES
from edgekd.schema import Field, Schema
from edgekd.stage import Context, Stage
from edgekd.train import checkpoint, data
from edgekd.train.checkpoint import Description
from edgekd.train.evaluate import accuracy, logits
from edgekd.train.fixed_zeros import zeros_stay
from edgekd.train.judging import judged

log = logging.getLogger("edgekd")

COMPARED = 8
"""Images on which engine and fake-quantized network are compared layer by layer."""


class QuantizeConfig(CalibrationConfig):
    """How ranges are found and weights rounded, and when and how the quantized network is trained."""

    calibration_images: int = Field(
        default=256, ge=1, le=1_000_000, description="images of the calibration split that are used"
    )
    qat_when: When = Field(
        default="auto", description="auto: train only where validation loses more than the tolerance without"
    )
    tolerance: float = Field(
        default=0.3, ge=0, le=100, description="points of validation accuracy lost without training"
    )
    qat: TeachConfig = Field(
        default=TeachConfig(epochs=2, optimizer="adamw", learning_rate=1e-3, weight_decay=1e-4),
        description="quantization-aware training",
    )


@dataclass(frozen=True)
class Source:
    """The float network a variant is made from."""

    artifact: Artifact
    description: Description
    model: nn.Module
    accuracy: float


class QuantizeStage(Stage[QuantizeConfig]):
    """Calibrates, trains where that pays, and writes each variant as a checkpoint and as ONNX with Q/DQ."""

    name: ClassVar[str] = "quantize"
    Config: ClassVar[type[Schema]] = QuantizeConfig

    def requires(self, artifacts: ArtifactSet, context: Context) -> None:
        """Refuse an unknown scheme, observer or loss before any training."""
        del artifacts
        for name in context.target.schemes():
            scheme_named(name)
        create_observer(self.config.observer, self.config.observer_options)
        refuse_unknown(self.config.qat)

    def run(self, artifacts: ArtifactSet, context: Context) -> ArtifactSet:
        """Return the artifacts with `<network>/<scheme>/torch` and `/onnx` added for every scheme of the target."""
        if not context.target.schemes():
            log.info("quantize: integers do not pay on %s; nothing to do", context.target.name)
            return artifacts
        artifact = artifacts.newest(scheme="fp32", written_as="torch")
        folder = context.path(artifact)
        model = checkpoint.load(folder)
        source = Source(artifact, checkpoint.describe(folder), model, self._accuracy(model, context))
        for name in context.target.schemes():
            artifacts = artifacts.add(*self._variant(scheme_named(name), source, artifacts, context))
        return artifacts

    def _variant(self, scheme: Scheme, source: Source, artifacts: ArtifactSet, context: Context) -> list[Artifact]:
        if scheme.experimental:
            log.warning("scheme %s is experimental: it costs accuracy; see docs/quantization.md", scheme.name)
        images = self._calibration(context)
        qat, taps = _tapped(self.config.qat)
        module = prepare(source.model, torch.from_numpy(images[:2]), scheme, taps=taps)
        calibrate(module, images, self.config)
        folder = context.folder / scheme.name

        def train(student: nn.Module) -> None:
            torch.manual_seed(context.recipe.seed)
            title = f"train {scheme.name}"
            unfold(student)
            sparse = {path: student.get_parameter(path) for path in source.description.extra.get(KEY, [])}
            with zeros_stay(sparse):
                teach(student, artifacts, context, qat, folder=folder / "training", title=title)
            refold(student)

        outcome = train_where_needed(
            module,
            floating=source.accuracy,
            when=self.config.qat_when,
            tolerance=self.config.tolerance,
            train=train,
            score=lambda network: self._accuracy(network, context),
        )
        outcome.module.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
        network = TorchNetwork(outcome.module)
        shares = saturation(network, images[:COMPARED], network.plan, network.integers())
        if context.target.adds_in_16_bits:
            refuse_saturating(shares, scheme.name, context.target.name)
        probe = torch.from_numpy(data.recorded(data.load(context.recipe.data)))
        checkpoint_of_variant.save(outcome.module, folder / "torch", scheme, source.description, probe)
        write(freeze(outcome.module), folder / "model.onnx", source.description.input_shape)
        return self._artifacts(scheme, source, outcome, folder, context, shares=shares)

    def _artifacts(
        self,
        scheme: Scheme,
        source: Source,
        outcome: Outcome,
        folder: Path,
        context: Context,
        *,
        shares: dict[str, float],
    ) -> list[Artifact]:
        figures = (
            self._percent("float_accuracy_percent", source.accuracy, context),
            self._percent("calibrated_accuracy_percent", outcome.calibrated, context),
            *judged(outcome.module, data.load(context.recipe.data), context.origin_here),
            Figure(name="saturation_share", value=max(shares.values(), default=0.0), origin="counted"),
        )
        notes = {"quantization": outcome.note, "saturation": _worst(shares)}
        common = {"network": source.artifact.network, "scheme": scheme.name, "made_by": self.name, "notes": notes}
        network = context.store(
            folder / "torch", **common, format="torch", parents=(source.artifact.key,), figures=figures
        )
        shape, classes = source.description.input_shape, source.description.classes
        compared = self._compared(outcome.module, folder / "model.onnx", scheme, context)
        file = context.store(
            folder / "model.onnx",
            **common,
            format="onnx",
            parents=(network.key,),
            inputs=(TensorSpec(name=INPUT, dtype="float32", shape=(None, *shape)),),
            outputs=(TensorSpec(name=OUTPUT, dtype="float32", shape=(None, classes)),),
            figures=(*figures, *compared),
        )
        return [network, file]

    def _compared(self, module: nn.Module, path: Path, scheme: Scheme, context: Context) -> list[Figure]:
        """Return, by runtime that reads the file itself, by how many integer steps a layer differs at most here."""
        if context.origin_here != "device":
            return []
        found = []
        for runtime in context.target.runtimes:
            if context.target.scheme_for(runtime) == scheme.name and runtime in RUNTIMES:
                steps = compare_layers(module, path, runtime, self._calibration(context)[:COMPARED]).steps
                worst = max(steps, key=lambda name: steps[name])
                if steps[worst] > 1:
                    log.warning("quantize: %s computes %s %d steps off", runtime, worst, steps[worst])
                name = f"layer_difference_steps_{runtime}"
                found.append(Figure(name=name, value=steps[worst], origin="device", samples=COMPARED))
        return found

    def _calibration(self, context: Context) -> np.ndarray:
        dataset = data.load(context.recipe.data)
        return data.normalised(dataset.calibration, dataset)[: self.config.calibration_images]

    def _accuracy(self, model: nn.Module, context: Context) -> float:
        dataset = data.load(context.recipe.data)
        return accuracy(logits(model, data.normalised(dataset.validation, dataset)), dataset.validation.labels)

    def _percent(self, name: str, value: float, context: Context) -> Figure:
        samples = len(data.load(context.recipe.data).validation)
        return Figure(name=name, value=value, origin=context.origin_here, samples=samples)


def _tapped(config: TeachConfig) -> tuple[TeachConfig, list[str]]:
    """Return the training of a captured network, in which modules are known by their taps, and what is tapped."""
    inside = [ours for pairs in config.taps.values() for ours, _ in pairs]
    taps = {kind: tuple((tapped(ours), theirs) for ours, theirs in pairs) for kind, pairs in config.taps.items()}
    return config.model_copy(update={"taps": taps}), inside


def _worst(shares: dict[str, float]) -> str:
    worst = max(shares, key=lambda name: shares[name], default=None)
    if worst is None or shares[worst] == 0:
        return "no 16-bit pair sum can overflow"
    return f"without integer dot products {shares[worst]:.2%} of the 16-bit pair sums of {worst} would overflow"
