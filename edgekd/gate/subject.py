"""What a user points at, as an engine to be measured: a bundle, an ONNX file, or OpenVINO's folder."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from edgekd import bundle
from edgekd.artifact import TensorSpec, digest_of_path
from edgekd.bundle import Manifest
from edgekd.connection.connection import Connection
from edgekd.errors import ExportError, MeasurementError, TargetError, UsageError, suggestion
from edgekd.measure.engine import Engine
from edgekd.runtime.session import RUNTIMES
from edgekd.schema import digest_of

_TIMEOUT_S = 120.0
_GIVEN = "given"
"""The arithmetic of an engine that says nothing about itself."""
_DAMAGED = (
    "INVALID_PROTOBUF",
    "No graph was found",
    "Unable to read the model",
    "weights in bin file",
    "weights data in bin file",
    "Error parsing",
    "NO_SUCHFILE",
)
"""What runtimes say of a file that is cut off, empty or something else; any other refusal is about what is in it."""
_LONGEST = 300
_PLACES = re.compile(
    r"(?:Exception from|Check '.*?' failed at|FrontEnd API failed with) \S+:(?:\d+:)? |/\S+\.cc:\d+ .*?\) "
)
"""Where in the runtime's own source something was noticed."""


@dataclass(frozen=True)
class Subject:
    """An engine, and what it says about itself."""

    given: str
    engine: Engine
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    manifest: Manifest | None = None


def resolve(given: str, runtime: str | None, connection: Connection, *, beside: Sequence[Subject] = ()) -> Subject:
    """Return the engine at the path `given`, opened once by its runtime to learn what it takes and gives.

    A bundle is verified first and gives its chosen engine, or that of `runtime`; an ONNX file is opened by `runtime` or
    by the first one installed. `beside` are engines of the same series, whose keys must differ. Raises UsageError for
    what is damaged or no engine, TargetError when the runtime is not installed, ExportError when it cannot run what
    is in the file, MeasurementError when it crashes or hangs.
    """
    path = Path(given)
    if runtime is not None and runtime not in RUNTIMES:
        raise UsageError(f"unknown runtime '{runtime}'; {suggestion(runtime, RUNTIMES)}")
    engine, manifest = _found(path, given, runtime, connection)
    while any(engine.key == other.engine.key for other in beside):
        engine = replace(engine, network=f"{engine.network}-b")
    inputs, outputs = _described(engine, given, connection)
    return Subject(given, engine, inputs, outputs, manifest)


def _found(path: Path, given: str, runtime: str | None, connection: Connection) -> tuple[Engine, Manifest | None]:
    if not path.exists():
        raise UsageError(f"there is no file or folder {given}; give a bundle, an .onnx file or an OpenVINO folder")
    if (path / "manifest.json").is_file() or (path / "manifest.sha256").is_file():
        return _bundled(path, given, runtime, connection)
    if path.is_dir() or path.suffix == ".xml":
        return _openvino(path, given, runtime, connection), None
    if path.suffix != ".onnx":
        raise UsageError(f"{given} is no engine: expected a bundle, an .onnx file or an OpenVINO folder (model.xml)")
    return _digested(path.stem, _installed(runtime, connection), path), None


def _bundled(path: Path, given: str, runtime: str | None, connection: Connection) -> tuple[Engine, Manifest]:
    manifest = bundle.verify(path)
    name = runtime or manifest.chosen
    if name not in manifest.engines:
        raise UsageError(f"{given} has no engine for {name}; it has: {', '.join(sorted(manifest.engines))}")
    if not connection.has(name):
        others = [f"--runtime {other}" for other in sorted(manifest.engines) if connection.has(other)]
        raise TargetError(
            f"the engine {given} ships is for {name}, which is not installed{_there(connection)}; run: "
            + " or give ".join([f"pip install 'edgekd[{name}]'", *others])
        )
    shipped = manifest.engines[name]
    digest = digest_of({file: manifest.files[file] for file in shipped.files})
    network = manifest.variants[shipped.variant].network
    return Engine(network, shipped.variant, name, path / shipped.path, digest), manifest


def _openvino(path: Path, given: str, runtime: str | None, connection: Connection) -> Engine:
    xml = path / "model.xml" if path.is_dir() else path
    if not xml.is_file():
        raise UsageError(f"the folder {given} is neither a bundle (manifest.json) nor an OpenVINO engine (model.xml)")
    if runtime not in {None, "openvino"}:
        raise UsageError(f"{given} is an OpenVINO engine, which {runtime} cannot open; leave --runtime out")
    return _digested(path.name if path.is_dir() else path.stem, _installed("openvino", connection), xml)


def _digested(network: str, runtime: str, path: Path) -> Engine:
    """Return an engine with the digest of all its files, whatever they are called."""
    engine = Engine(network, _GIVEN, runtime, path, "")
    return replace(engine, digest=digest_of([digest_of_path(file) for file in engine.files]))


def _installed(runtime: str | None, connection: Connection) -> str:
    """Return the runtime asked for, or the first there is; raises TargetError when it is not installed."""
    wanted = RUNTIMES if runtime is None else (runtime,)
    found = next((name for name in wanted if connection.has(name)), None)
    if found is None:
        commands = " or ".join(f"pip install 'edgekd[{name}]'" for name in wanted)
        raise TargetError(f"{' and '.join(wanted)} not installed{_there(connection)}; run: {commands}")
    return found


def _there(connection: Connection) -> str:
    return "" if connection.is_here else f" on {connection.name}"


def _described(
    engine: Engine, given: str, connection: Connection
) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    request = {"verb": "describe", "runtime": engine.runtime, "engine": engine.sent(connection)}
    with connection.start(engine.key) as child:
        try:
            answer = child.ask(request, _TIMEOUT_S)
        except MeasurementError as error:
            raise refusal(error, given, engine.runtime) from error
    inputs, outputs = (
        tuple(TensorSpec(name=port["name"], dtype=port["dtype"], shape=tuple(port["shape"])) for port in answer[key])
        for key in ("inputs", "outputs")
    )
    texts = [port.name for port in inputs if port.dtype in {"bytes", "str", "object"}]
    if texts:
        raise ExportError(f"{given} takes text as input '{texts[0]}'; only numbers can be measured, export it without")
    return inputs, outputs


def refusal(error: MeasurementError, given: str, runtime: str) -> UsageError | ExportError | MeasurementError:
    """Return what it means that opening an engine failed: a damaged file, one the runtime cannot run, or a crash."""
    _, refused, said = " ".join(str(error).split()).partition(" refused: ")
    if not refused:
        return error
    said = _PLACES.sub("", said.rpartition("failed:")[2]).strip().rstrip(".;")
    said = said if len(said) <= _LONGEST else f"{said[:_LONGEST]} ..."
    if any(sign in str(error) for sign in _DAMAGED):
        return UsageError(f"{given} is damaged or no engine; {runtime} says: {said}; copy or export it again")
    return ExportError(
        f"{given} cannot be run by {runtime}, which says: {said}; export it for {runtime}, or give another --runtime"
    )
