"""The stage that trains the student under the teacher."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch

from edgekd.artifact import ArtifactSet
from edgekd.distill.loss import create
from edgekd.distill.teach import TeachConfig, teach
from edgekd.errors import UsageError
from edgekd.figure import Figure
from edgekd.models.build import build
from edgekd.models.kernels import kernels, macs, parameters
from edgekd.recipe import ModelSpec
from edgekd.schema import Field, Schema, read_json
from edgekd.stage import Context, Stage
from edgekd.train import checkpoint, data
from edgekd.train.evaluate import accuracy, logits


class DistillConfig(TeachConfig):
    """How the student is taught, and which network it is."""

    student: Literal["auto"] | ModelSpec = Field(default="auto", description="auto: what the search has chosen")


class DistillStage(Stage[DistillConfig]):
    """Trains a student under the teacher: artifact `distilled` in fp32."""

    name: ClassVar[str] = "distill"
    Config: ClassVar[type[Schema]] = DistillConfig

    def requires(self, artifacts: ArtifactSet, context: Context) -> None:
        """Need losses that exist, a teacher for them, and a student: one that can be built, or the search's choice."""
        create(self.config.losses)
        if self.config.losses and not artifacts.all(network="teacher", scheme="fp32", written_as="torch"):
            raise UsageError("stage distill needs a teacher; put the stage 'teacher' before it or set losses: {}")
        if self.config.student == "auto" and not artifacts.all(written_as="choice"):
            raise UsageError("stage distill: student is 'auto', so put the stage 'search' before it or name a model")
        if self.config.student != "auto":
            dataset = data.load(context.recipe.data)
            with torch.random.fork_rng(devices=[]):
                build(self.config.student, dataset.input_shape, dataset.classes)

    def run(self, artifacts: ArtifactSet, context: Context) -> ArtifactSet:
        """Build, teach and keep the student."""
        spec = self._student(artifacts, context)
        dataset = data.load(context.recipe.data)
        torch.manual_seed(context.recipe.seed)
        model = build(spec, dataset.input_shape, dataset.classes)
        history = teach(
            model, artifacts, context, self.config, folder=context.folder / "training", title="distil the student"
        )
        folder = context.folder / "distilled"
        probe = torch.from_numpy(data.recorded(dataset))
        checkpoint.save(model, folder, spec, dataset.input_shape, dataset.classes, probe)
        validation = dataset.validation
        found = logits(model, data.normalised(validation, dataset))
        counts = {
            "parameters": parameters(model),
            "macs": macs(kernels(model, dataset.input_shape)),
            "images_seen": history.images,
        }
        artifact = context.store(
            folder,
            network="distilled",
            format="torch",
            made_by=self.name,
            parents=self._parents(artifacts),
            figures=(
                Figure(
                    name="accuracy_percent",
                    value=accuracy(found, validation.labels),
                    origin=context.origin_here,
                    samples=len(validation),
                ),
                *(Figure(name=name, value=value, origin="counted") for name, value in counts.items()),
            ),
            notes={"student": _words(spec), "losses": ", ".join(self.config.losses) or "labels only"},
        )
        return artifacts.add(artifact)

    def ensures(self, artifacts: ArtifactSet, context: Context) -> None:
        """Refuse a student that guesses."""
        classes = data.load(context.recipe.data).classes
        found = artifacts.newest(network="distilled", written_as="torch").figure("accuracy_percent")
        if found is None or found.value <= 150 / classes:
            raise UsageError(
                f"the student learned nothing: {found.text() if found else '?'} % of validation images are right, "
                f"a guess is {100 / classes:.3g} %; train more epochs or lower the learning rate"
            )

    def _student(self, artifacts: ArtifactSet, context: Context) -> ModelSpec:
        if self.config.student == "auto":
            return read_json(ModelSpec, context.path(artifacts.newest(written_as="choice")))
        return self.config.student

    def _parents(self, artifacts: ArtifactSet) -> tuple[str, ...]:
        teachers = artifacts.all(network="teacher", scheme="fp32", written_as="torch") if self.config.losses else []
        choices = artifacts.all(written_as="choice") if self.config.student == "auto" else []
        return tuple(artifact.key for artifact in (*teachers[-1:], *choices[-1:]))


def _words(spec: ModelSpec) -> str:
    options = ", ".join(f"{key} {value}" for key, value in spec.options.items())
    return f"{spec.name or spec.factory}{f' ({options})' if options else ''}"
