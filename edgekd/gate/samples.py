"""What the engines of a gate are fed: the user's own samples, or random ones of the engine's shape, and said so."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgekd.artifact import TensorSpec
from edgekd.errors import UsageError
from edgekd.gate.shapes import Shapes, fits, sample_of, text
from edgekd.gate.subject import Subject
from edgekd.runtime.pixels import Pixels

Array = NDArray[np.generic]
RANDOM = "random (none were given)"
_LARGEST_RANDOM = 32_000_000
"""Bytes; as many as do not stay in the caches."""
_MOST_RANDOM = 16
_LABELS, _INPUTS, _PIXELS = "labels", "inputs", "pixels"


@dataclass(frozen=True)
class Samples:
    """Inputs on disk, and their labels where there are any."""

    path: Path
    """An .npy file (N, ...), or a folder with one per engine input."""
    origin: str
    """Where they came from, for the report."""
    labels: NDArray[np.integer] | None = None

    @property
    def given(self) -> bool:
        """Return whether the user gave them, so that a strange answer to them matters."""
        return self.origin != RANDOM


def prepare(subject: Subject, batch: int, data: Path | None, shapes: Shapes, folder: Path) -> Samples:
    """Write what a subject is fed into `folder` and return it.

    `data` is an .npz file with `labels`, if any, and one of: `inputs` as the engine eats them, one array per engine
    input under its name, or `pixels` that the bundle's preprocessing turns into inputs. Without it they are random.
    Raises UsageError for every way in which they do not fit the engine.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if data is None:
        return Samples(_write(_random(subject, batch, shapes), subject.inputs, folder), RANDOM)
    held = _read(data)
    labels = held.pop(_LABELS, None)
    arrays = _fed(subject, held, data)
    for port, array in zip(subject.inputs, arrays, strict=True):
        _refuse_misfit(port, array, shapes.get(port.name), subject.given, data)
    count = len(arrays[0])
    if any(len(array) != count for array in arrays):
        raise UsageError(
            f"{data}: the inputs hold {', '.join(str(len(array)) for array in arrays)} samples; give as many of each"
        )
    if count < batch:
        raise UsageError(f"{data} holds {count} samples, one batch of {batch} is needed")
    checked = None if labels is None else _checked(labels, count, data)
    return Samples(_write(arrays, subject.inputs, folder), f"{data}, {count} samples", checked)


def _random(subject: Subject, batch: int, shapes: Shapes) -> list[Array]:
    sizes = [sample_of(port, shapes, subject.given) for port in subject.inputs]
    pairs = list(zip(sizes, (port.dtype for port in subject.inputs), strict=True))
    each = batch * sum(int(np.prod(size)) * np.dtype(dtype).itemsize for size, dtype in pairs)
    count = batch * max(1, min(_MOST_RANDOM, _LARGEST_RANDOM // max(each, 1)))
    generator = np.random.default_rng(0)
    return [_values(generator, np.dtype(dtype), (count, *size)) for size, dtype in pairs]


def _values(generator: np.random.Generator, dtype: np.dtype[np.generic], shape: tuple[int, ...]) -> Array:
    """Return random values: pixels for uint8, 0 or 1 for other whole numbers, because they may be an index."""
    if dtype.kind == "f":
        return generator.standard_normal(shape).astype(dtype)
    return generator.integers(0, 256 if dtype == np.uint8 else 2, shape).astype(dtype)


def _read(data: Path) -> dict[str, Array]:
    try:
        with data.open("rb") as stream:
            archive = np.load(stream, allow_pickle=False)
            if isinstance(archive, np.ndarray):
                raise UsageError(f"{data} is a single array; save an .npz with: np.savez(file, inputs=..., labels=...)")
            return {name: archive[name] for name in archive.files}
    except FileNotFoundError:
        raise UsageError(f"there is no file {data}") from None
    except (OSError, ValueError, zipfile.BadZipFile, EOFError) as error:
        said = "it holds Python objects" if "allow_pickle" in str(error) else " ".join(str(error).split())
        raise UsageError(
            f"{data} cannot be read as an .npz of arrays ({said}); save it with np.savez(file, inputs=..., labels=...)"
        ) from None


def _fed(subject: Subject, held: dict[str, Array], data: Path) -> list[Array]:
    """Return one array per engine input, in the engine's order."""
    names = [port.name for port in subject.inputs]
    if held.keys() == {_PIXELS} and names != [_PIXELS]:
        return [_preprocessed(held[_PIXELS], subject, data)]
    if held.keys() == {_INPUTS} and len(names) == 1:
        return [held[_INPUTS]]
    if held.keys() != set(names):
        possible = [f"one array for each of its inputs ({', '.join(names)})"]
        possible += ["'inputs'"] if len(names) == 1 else []
        possible += ["'pixels'"] if subject.manifest is not None else []
        have = ", ".join(sorted(held)) or "nothing"
        raise UsageError(f"{data} holds {have} beside labels; {subject.given} wants {' or '.join(possible)}")
    return [held[name] for name in names]


def _preprocessed(pixels: Array, subject: Subject, data: Path) -> Array:
    if subject.manifest is None:
        raise UsageError(
            f"{data} holds 'pixels', but {subject.given} is no bundle and says nothing of preprocessing; save what the "
            "engine eats as 'inputs'"
        )
    try:
        found: Array = Pixels(subject.manifest.plain()).normalised(pixels)
    except (TypeError, ValueError) as error:
        raise UsageError(f"{data}: {error}") from None
    return found


def _refuse_misfit(port: TensorSpec, array: Array, shape: Sequence[int] | None, given: str, data: Path) -> None:
    wanted = (None, *(shape[1:] if shape is not None else port.shape[1:]))
    if not fits(array.shape, wanted):
        raise UsageError(
            f"{data}: input '{port.name}' has the shape {text(array.shape)}; {given} wants {text(wanted)}, the first "
            "being the samples"
        )
    if array.dtype != np.dtype(port.dtype):
        raise UsageError(
            f"{data}: input '{port.name}' is {array.dtype}, {given} wants {port.dtype}; save it after "
            f".astype('{port.dtype}')"
        )
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise UsageError(f"{data}: input '{port.name}' holds values that are not finite (NaN or infinity)")


def _checked(labels: Array, count: int, data: Path) -> NDArray[np.integer]:
    if labels.dtype.kind not in "iu" or labels.shape != (count,):
        raise UsageError(
            f"{data}: labels are {labels.dtype} of shape {text(labels.shape)}; expected one whole number for each "
            f"of the {count} inputs"
        )
    return labels.astype(np.int64)


def _write(arrays: Sequence[Array], ports: Sequence[TensorSpec], folder: Path) -> Path:
    if len(arrays) == 1:
        np.save(folder / "inputs.npy", arrays[0], allow_pickle=False)
        return folder / "inputs.npy"
    width = len(str(len(arrays) - 1))
    for number, (array, port) in enumerate(zip(arrays, ports, strict=True)):
        name = "".join(letter if letter.isalnum() or letter in "._-" else "_" for letter in port.name)
        np.save(folder / f"{number:0{width}}-{name[:100]}.npy", array, allow_pickle=False)
    return folder
