"""A data set: inputs and labels in four splits, and the contract of what can load one."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from edgekd.errors import UsageError
from edgekd.plugins import PluginFolder
from edgekd.schema import Schema


@dataclass(frozen=True)
class Split:
    """Inputs and their labels.

    Images (N, C, H, W) are uint8 in 0..255 or float32 in 0..1, tokens (N, T) int64. Labels are int64, (N,) or, where
    every position is decided, (N, T).
    """

    inputs: NDArray[Any]
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: NDArray[np.int64]) -> Split:
        """Return the samples at `indices`, in that order."""
        return Split(np.ascontiguousarray(self.inputs[indices]), self.labels[indices])


@dataclass(frozen=True)
class DataSet:
    """Four splits, each with its one use.

    `train` changes weights, `validation` decides, `calibration` sets quantization ranges, `test` is read once at the
    end. `mean` and `std` are per channel, of values scaled to 0..1; tokens have none.
    """

    name: str
    train: Split
    validation: Split
    calibration: Split
    test: Split
    class_names: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    task: str = "classification"

    @property
    def classes(self) -> int:
        """Return the number of classes."""
        return len(self.class_names)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Return (channels, height, width) of one image, (tokens,) of one text."""
        return tuple(self.train.inputs.shape[1:])

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Return (channels, height, width); raises UsageError for texts."""
        if self.is_text:
            raise UsageError(f"data set '{self.name}' holds texts, and images are needed here")
        channels, height, width = self.input_shape
        return channels, height, width

    @property
    def is_text(self) -> bool:
        """Return whether the inputs are tokens."""
        return self.train.inputs.dtype == np.int64

    @property
    def splits(self) -> dict[str, Split]:
        """Return the splits by name."""
        return {
            "train": self.train,
            "validation": self.validation,
            "calibration": self.calibration,
            "test": self.test,
        }

    @cached_property
    def digest(self) -> str:
        """Return the SHA-256 of everything training and evaluation can depend on."""
        told = (self.name, self.class_names, self.mean, self.std)
        total = hashlib.sha256(repr(told if self.task == "classification" else (*told, self.task)).encode())
        for name, split in self.splits.items():
            for array in (split.inputs, split.labels):
                total.update(f"{name} {array.dtype} {array.shape}".encode())
                total.update(np.ascontiguousarray(array).data)
        return total.hexdigest()


def statistics(images: NDArray[np.uint8 | np.float32]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and standard deviation per channel of images (N, C, H, W), for values scaled to 0..1."""
    scale = 255.0 if images.dtype == np.uint8 else 1.0
    mean = images.mean(axis=(0, 2, 3), dtype=np.float64) / scale
    std = images.std(axis=(0, 2, 3), dtype=np.float64) / scale
    return tuple(round(float(value), 6) for value in mean), tuple(round(max(float(value), 1e-3), 6) for value in std)


class Source(ABC):
    """Contract of a built-in data set."""

    Config: ClassVar[type[Schema]]

    def __init__(self, config: Schema) -> None:
        self.config = config

    @abstractmethod
    def load(self) -> DataSet:
        """Return the data set, the same for the same options; raises UsageError when its files are not there."""


DATASETS = PluginFolder("edgekd.train.datasets", Source)  # type: ignore[type-abstract]
