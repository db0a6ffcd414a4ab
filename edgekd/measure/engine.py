"""One built engine to be measured."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgekd.profile import Kernel


@dataclass(frozen=True)
class Engine:
    """One built engine; `path` is what `runtime.session.open_session` takes."""

    network: str
    scheme: str
    runtime: str
    path: Path
    digest: str
    kernels: tuple[Kernel, ...] = ()

    @property
    def key(self) -> str:
        """Return `network/scheme/runtime`, the key of its record."""
        return f"{self.network}/{self.scheme}/{self.runtime}"
