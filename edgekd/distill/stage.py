"""The stage that trains the student under the teacher."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from torch import nn

from edgekd.artifact import Artifact, ArtifactSet
from edgekd.distill import initialiser, schedule
from edgekd.distill.initialiser import Initialiser
from edgekd.distill.reference import is_path, named, refuse_absent
from edgekd.distill.schedule import STUDENT, Phase
from edgekd.distill.teach import TeachConfig, refuse_unknown, teach
from edgekd.errors import UsageError, suggestion
from edgekd.figure import Figure
from edgekd.models.build import build
from edgekd.models.kernels import kernels, macs, parameters
from edgekd.recipe import ModelSpec
from edgekd.schema import Field, Schema, read_json
from edgekd.stage import Context, Stage
from edgekd.train import checkpoint, data
from edgekd.train.dataset import DataSet
from edgekd.train.judging import judged

log = logging.getLogger("edgekd")


class DistillConfig(TeachConfig):
    """How the student is taught, and which network it is."""

    student: Literal["auto"] | ModelSpec = Field(default="auto", description="auto: what the search has chosen")
    schedule: str = Field(default="single", description="name of a schedule: who teaches whom in which order")
    schedule_options: dict[str, Any] = Field(default_factory=dict, description="options of the schedule")
    initialiser: str = Field(default="random", description="name of an initialiser: with which weights it begins")
    initialiser_options: dict[str, Any] = Field(default_factory=dict, description="options of the initialiser")


class DistillStage(Stage[DistillConfig]):
    """Trains a student under the teacher: artifact `distilled` in fp32."""

    name: ClassVar[str] = "distill"
    Config: ClassVar[type[Schema]] = DistillConfig
    for_every_target: ClassVar[bool] = True

    def made_from(self, artifacts: ArtifactSet) -> list[Artifact]:
        """Return teacher and choice; a student the recipe names is the same whatever was chosen."""
        found = super().made_from(artifacts)
        return found if self.config.student == "auto" else [a for a in found if a.format != "choice"]

    def requires(self, artifacts: ArtifactSet, context: Context) -> None:
        """Need losses that exist, a teacher for them, and a student: one that can be built, or the search's choice."""
        begins = initialiser.create(self.config.initialiser, self.config.initialiser_options)
        phases = self._phases()
        known = ["teacher"]
        for phase in phases:
            config = self._config(phase)
            refuse_unknown(config)
            unknown = [name for name in config.teachers if name not in known and not is_path(name)]
            if unknown:
                raise UsageError(
                    f"unknown teacher '{unknown[0]}'; {suggestion(unknown[0], known)}, or a path", unknown[0]
                )
            refuse_absent([name for name in config.teachers if name not in known])
            known.append(phase.network)
            needed = "teacher" in config.teachers and (config.losses or begins.needs_teacher)
            if needed and not artifacts.all(network="teacher", scheme="fp32", written_as="torch"):
                raise UsageError("stage distill needs a teacher; put the stage 'teacher' before it or set losses: {}")
        if self.config.student == "auto" and not artifacts.all(written_as="choice"):
            raise UsageError("stage distill: student is 'auto', so put the stage 'search' before it or name a model")
        _refuse_unfit(phases, self.config.student, data.load(context.recipe.data))

    def run(self, artifacts: ArtifactSet, context: Context) -> ArtifactSet:
        """Go through the phases of the schedule and keep the student."""
        student, dataset = self._student(artifacts, context), data.load(context.recipe.data)
        known, model, seen = artifacts, None, 0
        if schedule.SCHEDULES.get(self.config.schedule).experimental:
            log.warning("schedule '%s' is experimental; see docs/distillation.md", self.config.schedule)
        phases = self._phases()
        if self.config.student == "auto":
            _refuse_unfit(phases, student, dataset)  # what the search has chosen is known only now
        for number, phase in enumerate(phases):
            spec, config = phase.model or student, self._config(phase)
            begins = initialiser.create(self.config.initialiser, self.config.initialiser_options)
            if model is None or not phase.goes_on:
                torch.manual_seed(context.recipe.seed)
                model = build(spec, dataset.input_shape, dataset.classes)
                self._begin(begins, model, config, known, context)
            last = number == len(phases) - 1
            title = (
                "distil the student" if len(phases) == 1 else f"distil {number + 1} of {len(phases)}: {phase.network}"
            )
            folder = context.folder / ("training" if len(phases) == 1 else f"training-{number + 1}")
            history = teach(
                model,
                known,
                context,
                config,
                folder=folder,
                title=title,
                spec=phase.data,
                perturbation=phase.perturbation,
            )
            begins.finish(model)
            seen += history.images
            if not last and phase.network != STUDENT:
                known = known.add(
                    context.store(
                        self._save(model, context.folder / phase.network, spec, dataset),
                        network=phase.network,
                        format="torch",
                        made_by=self.name,
                    )
                )
        if model is None:
            raise UsageError(f"schedule '{self.config.schedule}' has no phase; it must end with the student")
        self._save(model, context.folder / STUDENT, student, dataset)
        figures = (
            *judged(model, dataset, context.origin_here),
            Figure(name="parameters", value=parameters(model), origin="counted"),
            Figure(name="macs", value=macs(kernels(model, dataset.input_shape)), origin="counted"),
            Figure(name="images_seen", value=seen, origin="counted"),
        )
        artifact = context.store(
            context.folder / STUDENT,
            network=STUDENT,
            format="torch",
            made_by=self.name,
            parents=self._parents(artifacts),
            figures=figures,
            notes=self._notes(student),
        )
        return artifacts.add(artifact)

    def ensures(self, artifacts: ArtifactSet, context: Context) -> None:
        """Refuse a student that guesses."""
        classes = data.load(context.recipe.data).classes
        found = artifacts.newest(network=STUDENT, written_as="torch").figure("accuracy_percent")
        if found is None or found.value <= 150 / classes:
            raise UsageError(
                f"the student learned nothing: {found.text() if found else '?'} % of validation images are right, "
                f"a guess is {100 / classes:.3g} %; train more epochs or lower the learning rate"
            )

    def _phases(self) -> list[Phase]:
        return schedule.create(self.config.schedule, self.config.schedule_options).phases(self.config)

    def _config(self, phase: Phase) -> TeachConfig:
        """Return the options of one training."""
        return TeachConfig.model_validate({**self.config.alone.plain(), **phase.changes})

    @staticmethod
    def _begin(
        begins: Initialiser, model: nn.Module, config: TeachConfig, known: ArtifactSet, context: Context
    ) -> None:
        teacher = named(config.teachers, known, context).network() if begins.needs_teacher else None
        begins.begin(model, teacher)

    @staticmethod
    def _save(model: nn.Module, folder: Path, spec: ModelSpec, dataset: DataSet) -> Path:
        probe = torch.from_numpy(data.recorded(dataset))
        checkpoint.save(model, folder, spec, dataset.input_shape, dataset.classes, probe)
        return folder

    def _notes(self, student: ModelSpec) -> dict[str, str]:
        plain = {"schedule": "single", "initialiser": "random"}
        chosen = {"schedule": self.config.schedule, "initialiser": self.config.initialiser}
        said = {"student": _words(student), "losses": ", ".join(self.config.losses) or "labels only"}
        return said | {name: value for name, value in chosen.items() if value != plain[name]}

    def _student(self, artifacts: ArtifactSet, context: Context) -> ModelSpec:
        if self.config.student == "auto":
            path = context.path(artifacts.newest(written_as="choice"))
            chosen = read_json(ModelSpec, path)
            return chosen if chosen.weights is None else chosen.replace(weights=str(path.parent / chosen.weights))
        return self.config.student

    def _parents(self, artifacts: ArtifactSet) -> tuple[str, ...]:
        teachers = artifacts.all(network="teacher", scheme="fp32", written_as="torch") if self.config.losses else []
        choices = artifacts.all(written_as="choice") if self.config.student == "auto" else []
        return tuple(artifact.key for artifact in (*teachers[-1:], *choices[-1:]))


def _refuse_unfit(phases: list[Phase], student: Literal["auto"] | ModelSpec, dataset: DataSet) -> None:
    """Raise UsageError for a network that cannot be built, or that its phase cannot disturb as it says."""
    for phase in phases:
        spec = phase.model or student
        if spec == "auto":
            continue
        with torch.random.fork_rng(devices=[]):
            model = build(spec, dataset.input_shape, dataset.classes)
        if phase.perturbation is not None:
            with phase.perturbation.applied(model, torch.from_numpy(data.recorded(dataset)[:1])):
                pass


def _words(spec: ModelSpec) -> str:
    options = ", ".join(f"{key} {value}" for key, value in spec.options.items())
    return f"{spec.name or spec.factory}{f' ({options})' if options else ''}"
