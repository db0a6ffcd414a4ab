"""One built engine to be measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekd.budget import OperatingPoint
from edgekd.connection.connection import Connection
from edgekd.figure import Figure
from edgekd.profile import EngineRecord, Kernel


@dataclass(frozen=True)
class Engine:
    """One built engine; `path` is what `runtime.session.open_session` takes.

    `inputs` is what this engine eats instead of the series' common inputs: an .npy file (N, ...), or a folder with one
    per engine input, sorted by name. `batch` is what it is called with instead of the operating point's (the anchor).
    """

    network: str
    scheme: str
    runtime: str
    path: Path
    digest: str
    kernels: tuple[Kernel, ...] = ()
    inputs: Path | None = None
    batch: int | None = None
    computes_as: str | None = None
    """The runtime that computes its answers where its own is not at hand."""

    @property
    def key(self) -> str:
        """Return `network/scheme/runtime`, the key of its record."""
        return f"{self.network}/{self.scheme}/{self.runtime}"

    @property
    def files(self) -> tuple[Path, ...]:
        """Return all files the engine is made of, sorted; weights beside an .onnx or .xml file belong to it."""
        if self.path.is_dir():
            return tuple(sorted(path for path in self.path.rglob("*") if path.is_file()))
        if self.path.suffix == ".xml":
            return tuple(path for path in (self.path.with_suffix(".bin"), self.path) if path.is_file())
        content = self.path.read_bytes()
        beside = self.path.parent.iterdir() if self.path.suffix == ".onnx" and b"location" in content else ()
        named = [path for path in beside if path != self.path and path.is_file() and path.name.encode() in content]
        return tuple(sorted([self.path, *named]))

    def record(
        self,
        point: OperatingPoint,
        per_process: Mapping[str, tuple[float, ...]] | None = None,
        figures: tuple[Figure, ...] = (),
    ) -> EngineRecord:
        """Return what was measured of this engine as a record of a profile."""
        return EngineRecord(
            network=self.network,
            scheme=self.scheme,
            runtime=self.runtime,
            digest=self.digest,
            operating_point=point,
            per_process=dict(per_process or {}),
            figures=figures,
            kernels=self.kernels,
        )

    @property
    def size_mb(self) -> float:
        """Return the size of all its files, in MB (10**6 bytes)."""
        return _size_mb(self.files)

    def sent(self, connection: Connection) -> str:
        """Return where processes of a connection find the engine; raises TargetError where it is too large."""
        files = self.files
        connection.refuse_large(_size_mb(files), f"the engine {self.key}")
        return connection.sent(self.path, () if self.path.is_dir() else files)

    def called(self, point: OperatingPoint, inputs: Path, connection: Connection) -> dict[str, Any]:
        """Return what every request about this engine says: where it is, what it eats, how it is called."""
        return {
            "runtime": self.runtime,
            "engine": self.sent(connection),
            "inputs": connection.sent(self.inputs or inputs),
            "threads": point.threads,
            "batch": self.batch or point.batch,
        }


def _size_mb(files: Sequence[Path]) -> float:
    return sum(file.stat().st_size for file in files) / 1e6
