"""What a teacher is called in a recipe, and who that is.

`teacher` is the run's own, another word a network the run has trained (`assistant`, `generation-1`). Everything else is
a path: an .onnx file, the folder of a bundle, or the folder of a network edgekd has saved.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from edgekd.artifact import ArtifactSet, digest_of_path
from edgekd.distill.teacher import EngineTeacher, Ensemble, ModuleTeacher, Teacher
from edgekd.errors import UsageError
from edgekd.schema import digest_of
from edgekd.stage import Context
from edgekd.train import checkpoint


@dataclass(frozen=True)
class Named:
    """One teacher, or several that answer together, not yet loaded."""

    digest: str
    paths: tuple[Path, ...]

    def teacher(self) -> Teacher:
        """Load and return the teacher; raises UsageError when it cannot be opened."""
        members = [self._member(path) for path in self.paths]
        return members[0] if len(members) == 1 else Ensemble(members)

    def network(self) -> nn.Module:
        """Load and return the torch network behind it; raises UsageError where there is none, or more than one."""
        if len(self.paths) > 1 or not checkpoint.is_saved(self.paths[0]):
            raise UsageError(
                f"layers can be tapped in one torch network, and the teacher is {', '.join(map(str, self.paths))}; "
                "take losses that compare logits"
            )
        return checkpoint.load(self.paths[0])

    @staticmethod
    def _member(path: Path) -> Teacher:
        return ModuleTeacher(checkpoint.load(path)) if checkpoint.is_saved(path) else EngineTeacher(path)


def named(references: Sequence[str], artifacts: ArtifactSet, context: Context) -> Named:
    """Return who is meant; raises UsageError for a path that is not there, EdgekdError for a network that is not."""
    paths, digests = [], []
    for reference in references:
        if is_path(reference):
            refuse_absent([reference])
            path = Path(reference)
            digests.append(digest_of_path(path))
        else:
            artifact = artifacts.newest(network=reference, scheme="fp32", written_as="torch")
            path = context.path(artifact)
            digests.append(artifact.digest)
        paths.append(path)
    return Named(digests[0] if len(digests) == 1 else digest_of(digests), tuple(paths))


def refuse_absent(paths: Sequence[str]) -> None:
    """Raise UsageError for a path at which nothing is."""
    for path in paths:
        if not Path(path).exists():
            raise UsageError(f"teacher '{path}': there is no such file or folder", path)


def is_path(reference: str) -> bool:
    """Return whether a teacher's name is that of a file or folder."""
    return "/" in reference or reference.endswith(".onnx") or Path(reference).exists()
