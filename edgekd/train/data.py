"""From a data specification to a checked data set, and to what networks and engines eat."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekd.errors import UsageError
from edgekd.models.factory import call
from edgekd.recipe import DataSpec
from edgekd.schema import from_mapping
from edgekd.train.dataset import DATASETS, DataSet, Split
from edgekd.train.splits import balanced
from edgekd.train.task import IGNORED

__all__ = ["balanced", "load", "normalised", "recorded"]

_RECORDED = 64


def load(spec: DataSpec) -> DataSet:
    """Return the data set of a specification; the last two are remembered.

    Raises UsageError for an unknown name, wrong options, a factory that fails, and data that cannot be trained on:
    wrong shapes or types, NaN, labels out of range, a class without samples.
    """
    return _load(json.dumps([spec.name, spec.factory, spec.options], sort_keys=True))


@lru_cache(maxsize=2)
def _load(key: str) -> DataSet:
    name, factory, options = json.loads(key)
    if factory is None:
        source = DATASETS.get(name)
        return check(source(from_mapping(source.Config, options, f"options of data set '{name}'")).load())
    data = call(factory, options)
    if not isinstance(data, DataSet):
        raise UsageError(
            f"factory '{factory}' returned {type(data).__name__}, not an edgekd.train.dataset.DataSet", factory
        )
    try:
        return check(data)
    except UsageError as error:
        raise UsageError(str(error), factory) from None


def normalised(split: Split, data: DataSet) -> NDArray[Any]:
    """Return what a network eats: images as float32 (N, C, H, W), minus mean, divided by std; tokens as they are."""
    if data.is_text:
        return split.inputs
    scale = np.float32(255 if split.inputs.dtype == np.uint8 else 1)
    mean = np.asarray(data.mean, np.float32).reshape(1, -1, 1, 1)
    std = np.asarray(data.std, np.float32).reshape(1, -1, 1, 1)
    images: NDArray[np.float32] = split.inputs.astype(np.float32)
    images /= scale
    images -= mean
    images /= std
    return images


def recorded(data: DataSet) -> NDArray[Any]:
    """Return the inputs every checkpoint records with its outputs: the first of the calibration split, normalised.

    Enough of them that an engine's agreement with its network means something.
    """
    return normalised(data.calibration.take(np.arange(min(_RECORDED, len(data.calibration)))), data)


def check(data: DataSet) -> DataSet:
    """Return `data` unchanged; raises UsageError with the first fault that would spoil a training."""
    title = f"data set '{data.name}'"
    _check_types(title, data)
    shape = data.train.inputs.shape[1:]
    for name, split in data.splits.items():
        _check_split(f"{title}, {name}", split, shape, data.classes)
    for name in ("train", "validation", "test"):
        missing = sorted(set(range(data.classes)) - set(np.unique(data.splits[name].labels).tolist()))
        if missing and data.task == "classification":
            raise UsageError(f"{title}, {name}: no sample of class {missing[0]} ({data.class_names[missing[0]]})")
    if data.is_text:
        return data
    if not len(data.mean) == len(data.std) == shape[0] or not (np.isfinite(data.mean).all() and min(data.std) > 0):
        raise UsageError(f"{title}: mean and std need one value per channel ({shape[0]}), every std above zero")
    return data


def _check_types(title: str, data: DataSet) -> None:
    """Refuse what only looks like a data set: iterators, lists, tensors; each would fail later and without a word."""
    for name, split in data.splits.items():
        if not isinstance(split, Split):
            raise UsageError(
                f"{title}, {name}: got {type(split).__name__} instead of an edgekd.train.dataset.Split; "
                "collect what an iterator yields with numpy.stack first"
            )
        for part, array in (("inputs", split.inputs), ("labels", split.labels)):
            if not isinstance(array, np.ndarray):
                raise UsageError(f"{title}, {name}: {part} are {type(array).__name__}; expected a numpy array")
    for part in ("class_names", "mean", "std"):
        if not isinstance(getattr(data, part), tuple | list):
            raise UsageError(f"{title}: {part} is {type(getattr(data, part)).__name__}; expected a tuple")
    if data.classes < 2:
        raise UsageError(f"{title}: class_names has {data.classes} entries; a classifier needs at least two")


def _check_split(where: str, split: Split, shape: tuple[int, ...], classes: int) -> None:
    inputs, labels = split.inputs, split.labels
    if inputs.dtype == np.int64:
        _check_tokens(where, inputs, shape)
    else:
        _check_images(where, inputs, shape)
    every_position = inputs.shape if inputs.dtype == np.int64 else None
    if labels.shape not in {(len(inputs),), every_position} or labels.dtype != np.int64:
        raise UsageError(
            f"{where}: labels are {labels.dtype} of shape {labels.shape}; expected int64 of shape ({len(inputs)},)"
        )
    counted = labels[labels != IGNORED] if every_position else labels
    if counted.min(initial=0) < 0 or counted.max(initial=0) >= classes:
        raise UsageError(f"{where}: labels run from {counted.min()} to {counted.max()}; expected 0 to {classes - 1}")


def _check_tokens(where: str, tokens: NDArray[np.int64], shape: tuple[int, ...]) -> None:
    if tokens.ndim != 2 or tokens.shape[1:] != shape or len(tokens) == 0:
        raise UsageError(f"{where}: tokens have shape {tokens.shape}; expected (N, T), N > 0, as in train")
    if tokens.min() < 0:
        raise UsageError(f"{where}: tokens begin at {tokens.min()}; expected numbers from 0")


def _check_images(where: str, images: NDArray[Any], shape: tuple[int, ...]) -> None:
    if images.ndim != 4 or images.shape[1:] != shape or len(images) == 0:
        raise UsageError(f"{where}: images have shape {images.shape}; expected (N, C, H, W), N > 0, as in train")
    if images.dtype not in (np.uint8, np.float32):
        raise UsageError(f"{where}: images are {images.dtype}; expected uint8 in 0..255 or float32 in 0..1")
    if images.dtype == np.float32 and not np.isfinite(images).all():
        raise UsageError(
            f"{where}: {np.size(images) - int(np.isfinite(images).sum())} image values are NaN or infinite"
        )
