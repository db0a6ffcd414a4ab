"""Measures every engine of a run, interleaved with the teacher's: latency, memory, size, accuracy on validation."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np

from edgekd.artifact import Artifact, ArtifactSet, Format
from edgekd.disk import whole_file
from edgekd.errors import EdgekdError
from edgekd.figure import Figure, Origin
from edgekd.measure import machine
from edgekd.measure.comparison import fastest_teacher
from edgekd.measure.connection import local
from edgekd.measure.engine import Engine
from edgekd.measure.evaluate import evaluate_split
from edgekd.measure.lock import measurement_lock
from edgekd.measure.memory import peak_memory
from edgekd.measure.series import Series, measure
from edgekd.profile import Kernel, Profile
from edgekd.schema import Field, Schema, write_json
from edgekd.stage import Context, Stage

log = logging.getLogger("edgekd")

_WRITTEN_AS: dict[str, Format] = {"onnxruntime": "onnx", "openvino": "openvino"}


class MeasureConfig(Schema):
    """Options of the measure stage."""

    processes: int = Field(
        default=11,
        ge=1,
        le=1000,
        description="fresh processes per engine; the default is the least that bounds a median at 99 %",
    )
    memory_processes: int = Field(
        default=3, ge=1, le=1000, description="fresh processes per engine for the peak memory"
    )
    inputs: int = Field(
        default=64, ge=1, le=65_536, description="calibration images in rotation while latency is measured"
    )


class MeasureStage(Stage[MeasureConfig]):
    """Engines in, one profile out. Run again with more processes it keeps what was measured and adds the rest."""

    name: ClassVar[str] = "measure"
    Config: ClassVar[type[Schema]] = MeasureConfig

    def run(self, artifacts: ArtifactSet, context: Context) -> ArtifactSet:
        """Return the artifacts with the profile `measured`: a record per engine, raw values in measurements/."""
        from edgekd.train.data import load, normalised  # heavy, and only this stage needs it

        data = load(context.recipe.data)
        engines = engines_of(artifacts, context)
        if not engines:
            raise EdgekdError("there is no engine to measure; the export stage comes first")
        origin: Origin = "device" if context.origin_is_device else "host"
        inputs = _timing_inputs(normalised(data.calibration, data), self.config.inputs, context)
        series = self._latencies(engines, inputs, origin, context)
        baseline = fastest_teacher(series.records, context.recipe.budget.percentile)
        accuracy = evaluate_split(
            engines,
            normalised(data.validation, data),
            data.validation.labels,
            context.folder / "validation",
            baseline=baseline.key if baseline else None,
            origin=origin,
            progress=context.progress,
            title="accuracy of the engines",
        )
        memory = self._memory(engines, inputs, origin, context)
        extra = {e.key: (*memory[e.key], *accuracy[e.key], _size(e)) for e in engines}
        profile = _profile(series, extra, origin, context)
        path = context.folder / "profile.json"
        write_json(profile, path)
        return artifacts.add(_artifact(path, profile, engines, artifacts, context))

    def ensures(self, artifacts: ArtifactSet, context: Context) -> None:
        """Check that there is a profile."""
        del context
        artifacts.newest(network="measured", written_as="profile")

    def _latencies(self, engines: Sequence[Engine], inputs: Path, origin: Origin, context: Context) -> Series:
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
            origin=origin,
        )

    def _memory(
        self, engines: Sequence[Engine], inputs: Path, origin: Origin, context: Context
    ) -> dict[str, tuple[Figure, ...]]:
        point, processes = context.recipe.budget.operating_point, self.config.memory_processes
        with measurement_lock(), local() as connection:
            return peak_memory(engines, inputs, point, processes=processes, origin=origin, connection=connection)


def engines_of(artifacts: ArtifactSet, context: Context) -> list[Engine]:
    """Return every built engine of the target's runtimes; integer ones only in the scheme their runtime wants."""
    kernels: dict[str, tuple[Kernel, ...]] = {}
    found = []
    for runtime in context.target.runtimes:
        for artifact in artifacts.all(written_as=_WRITTEN_AS[runtime]) if runtime in _WRITTEN_AS else ():
            if artifact.scheme not in {"fp32", context.target.scheme_for(runtime)}:
                continue
            if artifact.network not in kernels:
                kernels[artifact.network] = _kernels(artifact.network, artifacts, context)
            found.append(_engine(artifact, runtime, kernels[artifact.network], context))
    return found


def _engine(artifact: Artifact, runtime: str, kernels: tuple[Kernel, ...], context: Context) -> Engine:
    path = context.path(artifact)
    return Engine(artifact.network, artifact.scheme, runtime, path, artifact.digest, kernels)


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
    path = context.folder / "timing-inputs.npy"
    with whole_file(path) as unfinished:
        np.save(unfinished, np.resize(images, (max(count, batch), *images.shape[1:])), allow_pickle=False)
    return path


def _size(engine: Engine) -> Figure:
    files = [engine.path] if engine.path.is_file() else [path for path in engine.path.rglob("*") if path.is_file()]
    return Figure(name="size_mb", value=sum(path.stat().st_size for path in files) / 1e6, origin="counted")


def _profile(series: Series, extra: dict[str, tuple[Figure, ...]], origin: Origin, context: Context) -> Profile:
    identity = machine.probe()
    versions = {**identity.pop("versions"), "python": identity["python"]}
    identity.pop("state")
    return Profile(
        target=context.target.name,
        origin=origin,
        machine={**identity, **series.machine},
        versions=versions,
        records=tuple(record.replace(figures=(*record.figures, *extra[record.key])) for record in series.records),
    )


def _artifact(
    path: Path, profile: Profile, engines: Sequence[Engine], artifacts: ArtifactSet, context: Context
) -> Artifact:
    parents = tuple(a.key for a in artifacts.artifacts if any(context.path(a) == engine.path for engine in engines))
    processes = len(profile.records[0].per_process["look"])
    notes = {"engines": f"{len(engines)}, each in {processes} fresh processes, interleaved", "origin": profile.origin}
    found = {"doubts": [*profile.machine["doubts"], *profile.machine["engine_doubts"].values()]}
    notes |= {key: "; ".join(said) for key, said in {**found, "remarks": profile.machine["remarks"]}.items() if said}
    return context.store(
        path, network="measured", format="profile", parents=parents, made_by=MeasureStage.name, notes=notes
    )
