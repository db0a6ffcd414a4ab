"""An observer watches a tensor during calibration and proposes the range its integers should cover."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import torch
from torch import Tensor

from edgekd.plugins import PluginFolder
from edgekd.schema import Schema, from_mapping

SAMPLES_PER_BATCH = 8192
"""Values kept of each batch: enough for a percentile of 99.99 and cheap enough for thirty tensors."""


class Observer(ABC):
    """Plug-in contract: sees every batch through `update`, then answers `range` once.

    The base class keeps the exact extremes and a random sample of values; the order of batches does not matter to
    the extremes and changes the sample only.
    """

    Config: ClassVar[type[Schema]]

    def __init__(self, config: Any) -> None:
        self.config = config
        self.low = 0.0
        self.high = 0.0
        self._kept: list[Tensor] = []
        self._random = torch.Generator().manual_seed(0)

    def update(self, x: Tensor) -> None:
        """Take notice of one batch of the tensor."""
        flat = x.detach().flatten()
        low, high = torch.aminmax(flat)
        self.low, self.high = min(self.low, float(low)), max(self.high, float(high))
        if len(flat) > SAMPLES_PER_BATCH:
            flat = flat[torch.randint(len(flat), (SAMPLES_PER_BATCH,), generator=self._random)]
        self._kept.append(flat.clone())

    @property
    def values(self) -> Tensor:
        """Return the sampled values, shape (samples,)."""
        return torch.cat(self._kept) if self._kept else torch.zeros(1)

    @abstractmethod
    def range(self, levels: int, *, symmetric: bool) -> tuple[float, float]:
        """Return (low, high) with low <= 0 <= high for integers of `levels` steps, 255 for eight bits.

        `symmetric` integers spend half of their steps on each side of zero.
        """


OBSERVERS: PluginFolder[Observer] = PluginFolder("edgekd.quantize.observers", Observer)  # type: ignore[type-abstract]


def create(name: str, options: dict[str, Any] | None = None) -> Observer:
    """Return a new observer; raises UsageError for an unknown name or option."""
    kind = OBSERVERS.get(name)
    return kind(from_mapping(kind.Config, options or {}, f"observer {name}"))
