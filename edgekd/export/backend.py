"""A backend turns an ONNX file into the engine of one runtime, and tells what that engine really executes."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Literal, NamedTuple

from edgekd.artifact import Format
from edgekd.plugins import PluginFolder
from edgekd.schema import Schema
from edgekd.target import Precision

ExecutedPrecision = Precision | Literal["int4"]
"""A product is int4 where it reads weights of four bits; the other factor is of eight, or float."""
_MULTIPLIES = re.compile(r"conv(?!ert)|gemm|matmul|fullyconnected", re.IGNORECASE)


class ExecutedLayer(NamedTuple):
    """One operator of an engine after all of the runtime's own rewriting."""

    op: str
    """In the runtime's own words, for example QLinearConv or FullyConnected."""
    name: str
    precision: ExecutedPrecision

    @property
    def multiplies(self) -> bool:
        """Return whether it is a convolution or a matrix product, where the time goes."""
        return _MULTIPLIES.search(self.op) is not None


class Backend(ABC):
    """Builds and inspects the engines of one runtime.

    `runtime` is the name `edgekd.runtime.session.open_session` knows; `reads` is the format of the artifact it opens.
    """

    class Config(Schema):
        """No options."""

    runtime: str
    reads: Format

    def __init__(self, config: Schema | None = None) -> None:
        self.config = config or self.Config()

    def runs_here(self) -> bool:
        """Return whether this machine can run the engines, beside building them."""
        return True

    @property
    def computes_as(self) -> str:
        """Return the runtime that computes the engine's answers on this machine."""
        return self.runtime

    @abstractmethod
    def build(self, onnx_path: Path, folder: Path) -> Path:
        """Build the engine of an ONNX file and return its path, a file or a folder, for `open_session`.

        It is written into `folder`, or is the ONNX file itself where the runtime reads that. The same file gives the
        same engine, byte for byte, where the runtime is deterministic. Raises ExportError when the runtime refuses the
        network.
        """

    @abstractmethod
    def executed(self, engine: Path) -> list[ExecutedLayer]:
        """Return the operators this machine executes at batch 1, in order, with the precision they compute in."""


BACKENDS: PluginFolder[Backend] = PluginFolder("edgekd.export.backends", Backend)  # type: ignore[type-abstract]
