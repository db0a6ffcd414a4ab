"""Runtimes that are only on the target: built there, or while it is not at hand the ONNX file stands for the engine."""

from __future__ import annotations

import importlib.util
from contextlib import ExitStack
from pathlib import Path

from edgekd.artifact import Format
from edgekd.connection.connection import Connection, reached
from edgekd.disk import scratch, whole_folder
from edgekd.errors import ExportError, MeasurementError
from edgekd.export.backend import BACKENDS, Backend, ExecutedLayer
from edgekd.export.sparse_layers import is_sparse
from edgekd.runtime import tensorrt_key
from edgekd.runtime.session import REFERENCE
from edgekd.stage import Context

FOREIGN = ("tensorrt",)
"""Runtimes that only devices have."""
_BUILDS = 3
"""How often an engine is built on the device, the fastest is kept: a builder times its kernels on a busy machine."""
_BUILD_S = 3600.0
_PARSER = "tensorrt-rtx"
"""What stands in for TensorRT's parser and builder."""


class Unbuilt(Backend):
    """The engine is the ONNX file; here it is only computed, operator by operator."""

    reads: Format = "onnx"

    def __init__(self, runtime: str) -> None:
        super().__init__()
        self.runtime = runtime

    @property
    def computes_as(self) -> str:
        """Return the reference runtime."""
        return REFERENCE

    @property
    def is_checked(self) -> bool:
        """Return whether a parser like the target's takes the file before it ships."""
        return self.runtime in {*FOREIGN, _PARSER} and importlib.util.find_spec("tensorrt_rtx") is not None

    def build(self, onnx_path: Path, folder: Path) -> Path:
        """Return the ONNX file; for TensorRT, once its parser and builder have taken it, where they are installed.

        Raises ExportError where they refuse it.
        """
        if self.is_checked:
            with scratch("edgekd-engine") as place:
                BACKENDS.get(_PARSER)().build(onnx_path, place)
        del folder
        return onnx_path

    def executed(self, engine: Path) -> list[ExecutedLayer]:
        """Return nothing: what the device makes of it is known there."""
        del engine
        return []


class BuiltThere(Backend):
    """The device builds the engine; the folder that comes back holds it, and the key it is loaded by."""

    reads: Format = "tensorrt"

    def __init__(self, runtime: str, connection: Connection | None, batch: int = 1) -> None:
        super().__init__()
        self.runtime = runtime
        self._connection, self._batch = connection, batch

    def build(self, onnx_path: Path, folder: Path) -> Path:
        """Let the device build the engine several times and bring the fastest here.

        Raises ExportError where it refuses the file, TargetError where it cannot build at all.
        """
        place, label = folder / self.runtime, f"the build of {onnx_path.parent.name}/{onnx_path.name}"
        with reached(self._connection) as there, whole_folder(place) as unfinished, ExitStack() as stack:
            request = {"verb": "build", "runtime": self.runtime, "onnx": there.sent(onnx_path), "builds": _BUILDS}
            request |= {"batch": self._batch, "sparse": is_sparse(onnx_path)}
            for key, name in (("engine", tensorrt_key.ENGINE), ("key", tensorrt_key.KEY)):
                request[key] = stack.enter_context(there.receiving(unfinished / name))
            with there.locked(), there.start(label) as child:
                try:
                    child.ask(request, _BUILD_S)
                except MeasurementError as error:
                    raise ExportError(f"{error}; use operators it knows, or another scheme") from error
        return place

    def executed(self, engine: Path) -> list[ExecutedLayer]:
        """Return nothing: what is executed is known to the device alone (`edgekd profile --device`)."""
        del engine
        return []


def backends(context: Context) -> list[Backend]:
    """Return what makes engines of the target's runtimes, here or on the device, best runtime first."""
    if context.elsewhere:
        return [Unbuilt(runtime) for runtime in context.target.runtimes]
    return [_maker(runtime, context) for runtime in context.target.runtimes]


def _maker(runtime: str, context: Context) -> Backend:
    if runtime not in FOREIGN:
        return BACKENDS.get(runtime)()
    return BuiltThere(runtime, context.connection, context.recipe.budget.operating_point.batch)
