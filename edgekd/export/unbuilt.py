"""Runtimes that are only on the target: the ONNX file stands for the engine, which is built there."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from edgekd.artifact import Format
from edgekd.disk import scratch
from edgekd.export.backend import BACKENDS, Backend, ExecutedLayer
from edgekd.runtime.session import REFERENCE
from edgekd.stage import Context

FOREIGN = ("tensorrt",)
"""Runtimes that only devices have."""
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


def backends(context: Context) -> list[Backend]:
    """Return what makes engines of the target's runtimes here, best runtime first."""
    if context.elsewhere:
        return [Unbuilt(runtime) for runtime in context.target.runtimes]
    return [BACKENDS.get(runtime)() for runtime in context.target.runtimes]
