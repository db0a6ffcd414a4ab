"""Random widths, resolutions and choices of a probe network."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from random import Random
from typing import TypeVar

T = TypeVar("T")

COMMON_RESOLUTIONS = tuple(
    sorted({base >> halvings for base in (224, 256, 192, 160, 96, 112, 416, 300) for halvings in range(9)} - {0})
)
"""Heights of the feature maps of networks with the usual inputs."""

LARGEST_MAP = 256


class Dice:
    """Everything random in a probe; only `Random.random` is called, whose sequence Python promises to keep."""

    def __init__(self, random: Random) -> None:
        self._random = random

    def chance(self, probability: float) -> bool:
        """Return True with this probability."""
        return self._random.random() < probability

    def pick(self, options: Sequence[T]) -> T:
        """Return one of the options, each as likely; a longer run of an option makes it likelier."""
        return options[int(self._random.random() * len(options))]

    def weighted(self, weights: Mapping[str, float]) -> str:
        """Return one of the keys, as likely as its weight says."""
        point = self._random.random() * sum(weights.values())
        for key, weight in weights.items():
            point -= weight
            if point < 0:
                return key
        return key

    def whole(self, low: int, high: int) -> int:
        """Return a whole number from low to high, both included, each as likely."""
        return low + int(self._random.random() * (high - low + 1))

    def real(self, low: float, high: float) -> float:
        """Return a log-uniform number from low to high."""
        return float(low * (high / low) ** self._random.random())

    def log(self, low: int, high: int) -> int:
        """Return a log-uniform whole number from low to high, both included."""
        return min(high, max(low, round(self.real(low, high))))

    def width(self, low: float = 4, high: float = 2048) -> int:
        """Return a number of channels: 70 % multiples of 8 to 64, the others as pruning leaves them."""
        channels = self.log(max(1, round(low)), max(1, round(high)))
        step = self.pick((64 if channels >= 192 else 32 if channels >= 48 else 16, 16, 16, 8, 8, 8, 8, 1, 1, 1))
        return channels if channels < step else round(channels / step) * step

    def near(self, channels: int, factor: float = 3.0) -> int:
        """Return a number of channels at most `factor` times more or fewer, the same one quite often."""
        if self.chance(0.3):
            return channels
        return self.width(max(1.0, channels / factor), min(2048.0, channels * factor))

    def resolution(self, low: int = 1, high: int = LARGEST_MAP) -> int:
        """Return a height or width in pixels, log-uniform; about half are the usual ones."""
        size = self.log(low, high)
        if self.chance(0.5):
            size = min(COMMON_RESOLUTIONS, key=lambda usual: abs(math.log(usual / size)))
        return min(high, max(low, size))

    def feature_map(
        self, smallest: int = 3, largest: int = LARGEST_MAP, narrowest: int = 4, widest: int = 2048
    ) -> tuple[int, ...]:
        """Return (1, channels, height, width): half of them as networks have them, the wider the smaller the map."""
        height = self.resolution(smallest, largest)
        width = height if self.chance(0.85) else self.resolution(smallest, largest)
        if self.chance(0.5):
            channels = self.real(400, 14000) / math.sqrt(height * width)
            low, high = (min(widest, max(narrowest, channels * factor)) for factor in (0.8, 1.25))
            return 1, self.width(low, high), height, width
        return 1, self.width(narrowest, widest), height, width

    def kernel(self, options: Sequence[int], size: int) -> int:
        """Return one of the window sizes that is no wider than a map of this size; the first where none is."""
        return self.pick([option for option in options if option <= size] or options[:1])
