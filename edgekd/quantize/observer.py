"""An observer watches a tensor during calibration and proposes the range its integers should cover."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

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
        self._kept: list[NDArray[np.float32]] = []
        self._random = np.random.default_rng(0)

    def update(self, x: NDArray[np.float32]) -> None:
        """Take notice of one batch of the tensor."""
        flat = x.reshape(-1)
        self.low, self.high = min(self.low, float(flat.min())), max(self.high, float(flat.max()))
        if len(flat) > SAMPLES_PER_BATCH:
            flat = flat[self._random.integers(0, len(flat), SAMPLES_PER_BATCH)]
        self._kept.append(flat.copy())

    @property
    def values(self) -> NDArray[np.float32]:
        """Return the sampled values, shape (samples,)."""
        return np.concatenate(self._kept) if self._kept else np.zeros(1, np.float32)

    def histogram(self, bins: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Return the mean and the number of the sampled values in every one of equal bins that holds any."""
        values = self.values
        counts, edges = np.histogram(values, bins)
        sums, _ = np.histogram(values, edges, weights=values)
        held = counts > 0
        return sums[held] / counts[held], counts[held]

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
