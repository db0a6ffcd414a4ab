"""Measures every engine of a run, interleaved with the teacher's: latency, memory, size, accuracy on validation."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np

from edgekd.artifact import Artifact, ArtifactSet, Format
from edgekd.connection.connection import reached
from edgekd.device.counters import counters
from edgekd.disk import whole_file
from edgekd.errors import EdgekdError, TargetError
from edgekd.figure import Figure
from edgekd.measure import machine
from edgekd.measure.comparison import fastest_teacher
from edgekd.measure.engine import Engine
from edgekd.measure.evaluate import evaluate_split
from edgekd.measure.meter import Reading, Setup, create
from edgekd.measure.series import Series, measure
from edgekd.profile import EngineRecord, Kernel, Profile
from edgekd.recipe import Recipe
from edgekd.runtime.session import REFERENCE
from edgekd.schema import Field, Schema, from_mapping, write_json
from edgekd.stage import Context, Stage

log = logging.getLogger("edgekd")

_INPUTS = "timing-inputs.npy"
_WRITTEN_AS: dict[str, Format] = {"onnxruntime": "onnx", "openvino": "openvino", "tensorrt": "tensorrt"}
_UNBUILT: Format = "onnx"
"""What stands for an engine that only the target can build."""


class MeasureConfig(Schema):
    """Options of the measure stage."""

    processes: int = Field(
        default=11,
        ge=1,
        le=1000,
        description="fresh processes per engine; the default is the least that bounds a median at 99 %",
    )
    time_limit_s: float = Field(
        default=60, gt=0, le=86_400, description="seconds after which the fresh series of the verdict is not extended"
    )
    memory_processes: int = Field(
        default=5, ge=1, le=1000, description="fresh processes per engine for the peak memory"
    )
    inputs: int = Field(
        default=64, ge=1, le=65_536, description="calibration images in rotation while latency is measured"
    )

    @classmethod
    def of(cls, recipe: Recipe) -> MeasureConfig:
        """Return what a recipe says about this stage."""
        return from_mapping(cls, recipe.stages.get("measure", {}), "stages.measure")


class MeasureStage(Stage[MeasureConfig]):
    """Engines in, one profile out: what the engine to ship is chosen by."""

    name: ClassVar[str] = "measure"
    Config: ClassVar[type[Schema]] = MeasureConfig
    measures: ClassVar[bool] = True

    def requires(self, artifacts: ArtifactSet, context: Context) -> None:
        """Refuse a limit of energy where nobody counts it, before any training."""
        del artifacts
        if context.recipe.budget.energy_mj is not None and context.connection is None:
            _refuse_uncounted(context.target.runtimes)

    def run(self, artifacts: ArtifactSet, context: Context) -> ArtifactSet:
        """Return the artifacts with the profile `measured`: a record per engine, raw values in measurements/."""
        from edgekd.train.data import load, normalised  # heavy, and only this stage needs it

        engines = engines_of(artifacts, context)
        if not engines:
            raise EdgekdError("there is no engine to measure; the export stage comes first")
        data = load(context.recipe.data)
        inputs = _timing_inputs(normalised(data.calibration, data), self.config.inputs, context)
        series = self._latencies(engines, inputs, context)
        accuracy = accuracies(engines, series.records, context)
        readings = self._readings(engines, inputs, context)
        extra = {
            e.key: (*(f for reading in readings for f in reading.figures[e.key]), *accuracy[e.key]) for e in engines
        }
        remarks = [remark for reading in readings for remark in reading.remarks]
        profile = _profile(series, remarks, extra, context)
        return artifacts.add(stored(profile, engines, artifacts, context))

    def ensures(self, artifacts: ArtifactSet, context: Context) -> None:
        """Check that there is a profile."""
        del context
        artifacts.newest(network="measured", written_as="profile")

    def _latencies(self, engines: Sequence[Engine], inputs: Path, context: Context) -> Series:
        budget = context.recipe.budget
        return measure(
            engines,
            inputs,
            budget.operating_point,
            budget.percentile,
            processes=self.config.processes,
            raw=context.run_folder / "measurements" / f"measure-{context.round}.jsonl",
            progress=context.progress,
            title=f"latency of {len(engines)} engines",
            origin=context.origin,
            connection=context.connection,
        )

    def _readings(self, engines: Sequence[Engine], inputs: Path, context: Context) -> list[Reading]:
        budget = context.recipe.budget
        raw = context.run_folder / "measurements" / f"round-{context.round}"
        meters = [create("memory", {"processes": self.config.memory_processes}), create("size")]
        meters += [create("energy")] if budget.energy_mj is not None else []
        with reached(context.connection) as connection:
            setup = Setup(
                inputs,
                budget.operating_point,
                budget.percentile,
                context.origin,
                connection,
                raw,
                context.progress,
            )
            return [meter.measure(engines, setup) for meter in meters]


def _refuse_uncounted(runtimes: Sequence[str]) -> None:
    missing: dict[str, str] = {}
    for runtime in runtimes:
        found, why = counters(runtime)
        for counter in found:
            counter.close()
        if found:
            return
        missing |= why
    said = "; ".join(f"{name} {why}" for name, why in sorted(missing.items()))
    raise TargetError(f"the budget limits energy_mj, but this machine has no energy counter that can be read: {said}")


def engines_of(artifacts: ArtifactSet, context: Context) -> list[Engine]:
    """Return every engine of the target's runtimes in the arithmetic its runtime wants, float and integer."""
    kernels: dict[str, tuple[Kernel, ...]] = {}
    found = []
    for runtime in context.target.runtimes:
        written_as = _UNBUILT if context.elsewhere else _WRITTEN_AS.get(runtime)
        for artifact in artifacts.all(written_as=written_as) if written_as is not None else ():
            if artifact.scheme not in {context.target.float_scheme(runtime), context.target.scheme_for(runtime)}:
                continue
            if artifact.network not in kernels:
                kernels[artifact.network] = _kernels(artifact.network, artifacts, context)
            found.append(_engine(artifact, runtime, kernels[artifact.network], context))
    return found


def timing_inputs(artifacts: ArtifactSet, context: Context) -> Path:
    """Return the inputs in rotation of the measure stage that ran."""
    return context.path(artifacts.newest(network="measured", written_as="profile")).with_name(_INPUTS)


def _engine(artifact: Artifact, runtime: str, kernels: tuple[Kernel, ...], context: Context) -> Engine:
    path, computes_as = context.path(artifact), REFERENCE if context.elsewhere else None
    return Engine(artifact.network, artifact.scheme, runtime, path, artifact.digest, kernels, computes_as=computes_as)


def _kernels(network: str, artifacts: ArtifactSet, context: Context) -> tuple[Kernel, ...]:
    """Return the kernels of a network whose torch artifact is in the set: predictors are refined from measured ones."""
    torch_artifacts = artifacts.all(network=network, scheme="fp32", written_as="torch")
    if not torch_artifacts:
        return ()
    from edgekd.models.kernels import kernels
    from edgekd.train import checkpoint
    from edgekd.train.data import load

    return kernels(checkpoint.load(context.path(torch_artifacts[-1])), load(context.recipe.data).input_shape)


def _timing_inputs(images: np.ndarray, count: int, context: Context) -> Path:
    batch = context.recipe.budget.operating_point.batch
    path = context.folder / _INPUTS
    with whole_file(path) as unfinished:
        np.save(unfinished, np.resize(images, (max(count, batch), *images.shape[1:])), allow_pickle=False)
    return path


def accuracies(
    engines: Sequence[Engine], records: Sequence[EngineRecord], context: Context
) -> dict[str, tuple[Figure, ...]]:
    """Return accuracy, calibration and the drop against the teacher on the validation split, by engine key."""
    from edgekd.train.data import load, normalised

    data = load(context.recipe.data)
    baseline = fastest_teacher(records, context.recipe.budget.percentile)
    return evaluate_split(
        engines,
        normalised(data.validation, data),
        data.validation.labels,
        context.folder / "validation",
        baseline=baseline.key if baseline else None,
        origin=context.origin,
        progress=context.progress,
        title="accuracy of the engines",
        connection=context.connection,
    )


def _profile(series: Series, remarks: Sequence[str], extra: dict[str, tuple[Figure, ...]], context: Context) -> Profile:
    told = {**series.machine, "remarks": [*series.machine["remarks"], *remarks]}
    records = [record.replace(figures=(*record.figures, *extra[record.key])) for record in series.records]
    with reached(context.connection) as place:
        return machine.profiled(context.target.name, context.origin, records, told, place.probe())


def stored(profile: Profile, engines: Sequence[Engine], artifacts: ArtifactSet, context: Context) -> Artifact:
    """Write the profile of a run's engines and return its artifact, with what is to be said about it."""
    path = context.folder / "profile.json"
    write_json(profile, path)
    parents = tuple(a.key for a in artifacts.artifacts if any(context.path(a) == engine.path for engine in engines))
    looks = profile.records[0].per_process.get("look")
    how = f"each in {len(looks)} fresh processes, interleaved" if looks else "none of them built"
    notes = {"engines": f"{len(engines)}, {how}", "origin": profile.origin}
    told = profile.machine
    found = {"doubts": [*told.get("doubts", ()), *told.get("engine_doubts", {}).values()]}
    notes |= {key: "; ".join(said) for key, said in {**found, "remarks": told.get("remarks")}.items() if said}
    return context.store(
        path, network="measured", format="profile", parents=parents, made_by=MeasureStage.name, notes=notes
    )
