"""An artifact is one network in one format on disk, with its lineage; stages hand each other sets of them."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Literal

from edgekd.errors import EdgekdError
from edgekd.figure import Figure
from edgekd.schema import Field, Schema

Format = Literal["torch", "onnx", "openvino", "tensorrt", "tensorrt-rtx", "choice", "profile", "bundle"]


class TensorSpec(Schema):
    """One input or output of a network; a dimension of None is free (the batch)."""

    name: str
    dtype: str
    shape: tuple[int | None, ...]


class Artifact(Schema):
    """One network in one format on disk.

    `network` says whose function it computes (teacher, distilled, pruned, sparse), `scheme` in which arithmetic
    (fp32 or a quantization scheme), `format` how it is written. Together they are its key in an artifact set.
    """

    network: str
    scheme: str = "fp32"
    format: Format
    path: str = Field(description="relative to the run folder, so that a run folder can be moved; absolute outside it")
    digest: str
    inputs: tuple[TensorSpec, ...] = ()
    outputs: tuple[TensorSpec, ...] = ()
    parents: tuple[str, ...] = Field(default=(), description="keys of the artifacts it was made from")
    made_by: str
    figures: tuple[Figure, ...] = Field(default=(), description="what its stage learned about it")
    notes: dict[str, str] = Field(default_factory=dict, description="decisions in words, for the report")

    @property
    def key(self) -> str:
        """Return `network/scheme/format`, unique within a set."""
        return f"{self.network}/{self.scheme}/{self.format}"

    def figure(self, name: str) -> Figure | None:
        """Return the figure of that name, None when the stage did not take it."""
        return next((figure for figure in self.figures if figure.name == name), None)


class ArtifactSet(Schema):
    """All artifacts of a run so far, oldest first: a lineage graph by their `parents`."""

    artifacts: tuple[Artifact, ...] = ()

    def add(self, *new: Artifact) -> ArtifactSet:
        """Return a set with `new` appended; an artifact of the same key is replaced and moves to the end."""
        keys = {artifact.key for artifact in new}
        return ArtifactSet(artifacts=(*(a for a in self.artifacts if a.key not in keys), *new))

    def all(
        self, *, network: str | None = None, scheme: str | None = None, written_as: Format | None = None
    ) -> list[Artifact]:
        """Return the artifacts that match every given property, oldest first."""
        wanted = {"network": network, "scheme": scheme, "format": written_as}
        return [
            a for a in self.artifacts if all(value is None or getattr(a, key) == value for key, value in wanted.items())
        ]

    def newest(
        self, *, network: str | None = None, scheme: str | None = None, written_as: Format | None = None
    ) -> Artifact:
        """Return the last artifact that matches; raises EdgekdError when there is none."""
        found = self.all(network=network, scheme=scheme, written_as=written_as)
        if not found:
            have = ", ".join(a.key for a in self.artifacts) or "none"
            raise EdgekdError(
                f"no artifact with network={network}, scheme={scheme}, format={written_as}; there are: {have}"
            )
        return found[-1]


def digest_of_path(path: Path) -> str:
    """Return the SHA-256 of a file, or of a folder's files with their relative names."""
    total = hashlib.sha256()
    files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
    for file in files:
        total.update(file.relative_to(path).as_posix().encode() if file != path else b"")
        with file.open("rb") as stream:
            total.update(hashlib.file_digest(stream, "sha256").digest())
    return total.hexdigest()
