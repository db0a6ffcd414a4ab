"""Augmentations that replay: what happens to a sample is a function of its seed alone."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgekd.plugins import PluginFolder
from edgekd.recipe import DataSpec
from edgekd.schema import Schema, from_mapping

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


class Augmentation(ABC):
    """Contract of an augmentation: vectorised, and independent of which samples share a batch."""

    Config: ClassVar[type[Schema]]

    def __init__(self, config: Schema) -> None:
        self.config = config

    @abstractmethod
    def __call__(self, images: Tensor, seeds: Tensor) -> Tensor:
        """Return changed copies of normalised images (B, C, H, W), sample i by `seeds[i]` (B,) int64."""


AUGMENTATIONS = PluginFolder("edgekd.train.augmentations", Augmentation)  # type: ignore[type-abstract]


def augmentation(spec: DataSpec) -> Augmentation:
    """Return the augmentation a data specification names; raises UsageError for unknown names and options."""
    kind = AUGMENTATIONS.get(spec.augmentation)
    where = f"options of augmentation '{spec.augmentation}'"
    return kind(from_mapping(kind.Config, spec.augmentation_options, where))


def seeds(seed: int, epoch: int, samples: NDArray[np.int64]) -> Tensor:
    """Return one non-negative int64 seed for each sample index, different in every epoch."""
    with np.errstate(over="ignore"):
        stream = _mix(_mix(np.uint64(seed) + _GOLDEN) + np.uint64(epoch))
        mixed = _mix(stream + samples.astype(np.uint64) * _GOLDEN)
    return torch.from_numpy((mixed >> np.uint64(1)).astype(np.int64))


def uniform(sample_seeds: Tensor, count: int) -> Tensor:
    """Return `count` independent values in [0, 1) for each seed, float32 (B, count)."""
    with np.errstate(over="ignore"):
        start = _mix(sample_seeds.numpy().astype(np.uint64))[:, None]
        mixed = _mix(start + np.arange(1, count + 1, dtype=np.uint64) * _GOLDEN)
    return torch.from_numpy((mixed >> np.uint64(40)).astype(np.float32) / np.float32(2**24))


def background(images: Tensor) -> Tensor:
    """Return the smallest value of each image and channel, (B, C, 1, 1): what stands where nothing was seen."""
    return images.amin((2, 3), keepdim=True)


def _mix(value: np.uint64 | NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Scramble 64 bits (the finaliser of SplitMix64, Steele et al. 2014)."""
    mixed = np.asarray(value, np.uint64)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))
