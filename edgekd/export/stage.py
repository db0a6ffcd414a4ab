"""Writes every network as ONNX, builds the engine of every runtime of the target, and proves each one."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file
from torch import nn

from edgekd.artifact import Artifact, ArtifactSet, TensorSpec
from edgekd.errors import EdgekdError, ExportError, UsageError
from edgekd.export import divergence, onnx_file
from edgekd.export.answers import answers
from edgekd.export.backend import BACKENDS, Backend
from edgekd.export.early import refuse_unexportable
from edgekd.export.half import halved
from edgekd.export.on_target import FOREIGN, Unbuilt, backends
from edgekd.export.parity import Limits, Parity, compare
from edgekd.export.sparse_layers import refuse_lost
from edgekd.figure import Figure
from edgekd.models.two_of_four import KEY
from edgekd.schema import Field, Schema
from edgekd.stage import Context, Stage
from edgekd.target import FLOAT_SCHEMES
from edgekd.train import checkpoint, data
from edgekd.train.dataset import DataSet

log = logging.getLogger("edgekd")
Array = NDArray[np.float32]


class ExportConfig(Schema):
    """Options of the export stage."""

    limits: Limits = Field(default=Limits(), description="how far an engine may be from its network")


@dataclass(frozen=True)
class _Written:
    """One ONNX file, its artifact, and what its network answers to the recorded inputs."""

    artifact: Artifact
    path: Path
    inputs: Array
    logits: Array
    module: nn.Module | None

    @property
    def rounded(self) -> bool:
        """Return whether it computes in fewer bits than its network."""
        return self.artifact.scheme != "fp32"


class ExportStage(Stage[ExportConfig]):
    """Torch networks in, engines out; an engine that computes something else stops the run."""

    name: ClassVar[str] = "export"
    Config: ClassVar[type[Schema]] = ExportConfig
    measures: ClassVar[bool] = True

    def requires(self, artifacts: ArtifactSet, context: Context) -> None:
        """Refuse a runtime that has no backend here and, before any training, a network that cannot be exported."""
        known = [*BACKENDS.names(), *FOREIGN]
        unknown = [runtime for runtime in context.target.runtimes if runtime not in known]
        if unknown:
            said = ", ".join(known)
            raise UsageError(f"target '{context.target.name}' names the runtime '{unknown[0]}'; known: {said}")
        backends(context)
        if not any(artifact.digest for artifact in artifacts.all(written_as="torch")):  # promised, not trained yet
            _refuse_texts(data.load(context.recipe.data))
            refuse_unexportable(context)

    def run(self, artifacts: ArtifactSet, context: Context) -> ArtifactSet:
        """Return the artifacts with an ONNX file of every network and every engine the target's runtimes read."""
        makers = backends(context)
        floats = artifacts.all(scheme="fp32", written_as="torch")
        quantized = [artifact for artifact in artifacts.all(written_as="onnx") if artifact.scheme != "fp32"]
        with context.progress.task("export", len(floats) + len(quantized)) as advance:
            for network in floats:
                written = _write(network, context)
                artifacts = artifacts.add(*self._engines(written, makers, context))
                if "fp16" in context.target.float_schemes():
                    artifacts = artifacts.add(*self._engines(_halved(written, context), makers, context))
                advance(note=network.key)
            for network in quantized:
                artifacts = artifacts.add(*self._engines(_found(network, artifacts, context), makers, context))
                advance(note=network.key)
        return artifacts

    def ensures(self, artifacts: ArtifactSet, context: Context) -> None:
        """Check that every float network has an engine for every runtime, and that what was 2:4 is so in every file."""
        for network in artifacts.all(scheme="fp32", written_as="torch"):
            for backend in backends(context):
                scheme = context.target.float_scheme(backend.runtime)
                artifacts.newest(network=network.network, scheme=scheme, written_as=backend.reads)
            sparse = checkpoint.describe(context.path(network)).extra.get(KEY, [])
            for file in artifacts.all(network=network.network, written_as="onnx"):
                refuse_lost(context.path(file), len(sparse))

    def _engines(self, written: _Written, makers: list[Backend], context: Context) -> list[Artifact]:
        """Build the engines of one ONNX file; the file's own artifact carries the figures where it is an engine."""
        engines = {"onnx": written.artifact}
        for backend in makers:
            wanted = {context.target.scheme_for(backend.runtime), context.target.float_scheme(backend.runtime)}
            if written.artifact.scheme not in wanted:
                continue
            folder = context.folder / written.artifact.network / written.artifact.scheme
            engine = backend.build(written.path, folder)
            parity = self._prove(written, backend, engine, folder, context)
            figures, notes = _figures(parity, engine, context), _notes(written, backend, engine, context)
            made = engines["onnx"] if backend.reads == "onnx" else _engine(written.artifact, backend, engine, context)
            engines[backend.reads] = _with(made, figures, notes)
        return list(engines.values())

    def _prove(self, written: _Written, backend: Backend, engine: Path, folder: Path, context: Context) -> Parity:
        """Raise ExportError with the first diverging tensor when the engine is not what its network is."""
        outputs = answers(backend, engine, written.inputs, batch=1, connection=context.connection)
        parity = compare(written.logits, outputs, self.config.limits, rounded=written.rounded)
        if not parity.faults:
            return parity
        limits = self.config.limits
        tolerance = limits.integer_error if written.rounded else limits.float_error
        found = divergence.of_engine(
            backend, written.path, written.inputs, tolerance, folder, connection=context.connection
        )
        where = f"{backend.runtime} leaves the ONNX file"
        if found is None and written.module is not None:
            found = divergence.of_file(written.module, written.path, written.inputs, tolerance)
            where = "the ONNX file leaves the torch network"
        raise ExportError(
            f"the {backend.runtime} engine of {written.artifact.network}/{written.artifact.scheme} computes something "
            f"else than its network: {', '.join(parity.faults)}; "
            + (f"{where}: {found.text()}" if found else "no single operator of the ONNX file parts from its result")
        )


def _write(network: Artifact, context: Context) -> _Written:
    """Write a float torch artifact as ONNX."""
    folder = context.path(network)
    module = checkpoint.load(folder)
    inputs, logits = _probe(folder)
    path = context.folder / network.network / network.scheme / "model.onnx"
    onnx_file.write(module, path, inputs.shape[1:])
    artifact = context.store(
        path,
        network=network.network,
        scheme=network.scheme,
        format="onnx",
        inputs=(TensorSpec(name=onnx_file.INPUT, dtype="float32", shape=(None, *inputs.shape[1:])),),
        outputs=(TensorSpec(name=onnx_file.OUTPUT, dtype="float32", shape=(None, *logits.shape[1:])),),
        parents=(network.key,),
        made_by="export",
    )
    return _Written(artifact, path, inputs, logits, module)


def _halved(written: _Written, context: Context) -> _Written:
    """Write a float ONNX file in half precision."""
    path = context.folder / written.artifact.network / "fp16" / "model.onnx"
    halved(written.path, path, written.inputs)
    artifact = context.store(
        path,
        network=written.artifact.network,
        scheme="fp16",
        format="onnx",
        inputs=written.artifact.inputs,
        outputs=written.artifact.outputs,
        parents=(written.artifact.key,),
        made_by="export",
    )
    return _Written(artifact, path, written.inputs, written.logits, None)


def _found(written: Artifact, artifacts: ArtifactSet, context: Context) -> _Written:
    """Return a quantized ONNX file as the quantize stage left it."""
    fake_quant = artifacts.newest(network=written.network, scheme=written.scheme, written_as="torch")
    inputs, logits = _probe(context.path(fake_quant))
    return _Written(written, context.path(written), inputs, logits, None)


def _probe(folder: Path) -> tuple[Array, Array]:
    """Return the recorded inputs of a checkpoint and what its network answered."""
    try:
        probe = load_file(folder / "probe.safetensors")
        return np.ascontiguousarray(probe["input"]), probe["output"]
    except (OSError, KeyError) as error:
        raise EdgekdError(f"{folder}: the checkpoint has no recorded input and output: {error}") from error


def _refuse_texts(dataset: DataSet) -> None:
    if dataset.is_text:
        raise UsageError(
            f"data set '{dataset.name}' holds texts; networks that read texts can be trained and distilled, but not "
            "exported yet: use edgekd.distill.teach from Python, or data of images",
            dataset.name,
        )


def _figures(parity: Parity, engine: Path, context: Context) -> tuple[Figure, ...]:
    files = [engine] if engine.is_file() else [file for file in engine.rglob("*") if file.is_file()]
    size = sum(file.stat().st_size for file in files) / 1e6
    return (
        Figure(name="size_mb", value=size, origin="counted"),
        Figure(name="logit_error_max", value=parity.error, origin=context.origin, samples=parity.samples),
        Figure(name="logit_error_mean", value=parity.mean_error, origin=context.origin, samples=parity.samples),
        Figure(name="agreement_percent", value=parity.agreement_percent, origin=context.origin, samples=parity.samples),
    )


def _notes(written: _Written, backend: Backend, engine: Path, context: Context) -> dict[str, str]:
    """Say in words what the engine executes; warn when an int8 engine leaves products in float."""
    if isinstance(backend, Unbuilt):
        checked = "tensorrt-rtx takes it" if backend.is_checked else "no parser like the device's has seen it"
        return {f"engine of {backend.runtime}": f"not built; the device builds it from the ONNX file; {checked}"}
    if context.connection is not None:
        return {f"engine of {backend.runtime}": f"answers as its network does on {context.connection.name}"}
    layers = [layer for layer in backend.executed(engine) if layer.multiplies]
    counts = {p: sum(layer.precision == p for layer in layers) for p in ("int8", "fp16", "fp32")}
    slow = [f"{layer.op} {layer.name}" for layer in layers if layer.precision != "int8"]
    if written.artifact.scheme not in FLOAT_SCHEMES and slow:
        log.warning(
            "%s runs %d of %d layers of %s in float: %s",
            *(backend.runtime, len(slow), len(layers), written.artifact.key, ", ".join(slow)),
        )
    found = ", ".join(f"{count} in {precision}" for precision, count in counts.items() if count)
    return {f"executed by {backend.runtime}": f"{len(layers)} convolutions and matrix products: {found}"}


def _with(artifact: Artifact, figures: tuple[Figure, ...], notes: dict[str, str]) -> Artifact:
    new = {figure.name for figure in figures}
    kept = tuple(figure for figure in artifact.figures if figure.name not in new)
    return artifact.replace(figures=(*kept, *figures), notes={**artifact.notes, **notes})


def _engine(source: Artifact, backend: Backend, engine: Path, context: Context) -> Artifact:
    return context.store(
        engine,
        network=source.network,
        scheme=source.scheme,
        format=backend.reads,
        inputs=source.inputs,
        outputs=source.outputs,
        parents=(source.key,),
        made_by="export",
    )
