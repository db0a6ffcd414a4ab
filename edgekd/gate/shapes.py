"""The sizes an engine is called with: as the engine has them, as `--shape` gives them, and the batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from edgekd.artifact import TensorSpec
from edgekd.errors import UsageError, suggestion
from edgekd.gate.subject import Subject

Shapes = Mapping[str, tuple[int, ...]]
"""Sizes by name of an input, the first being the batch."""


def parse(texts: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """Return the shapes of `name=1,3,224,224` texts; raises UsageError for anything else."""
    found: dict[str, tuple[int, ...]] = {}
    for text in texts:
        name, equals, sizes = text.rpartition("=")
        parts = [part.strip() for part in sizes.split(",")]
        if not equals or not name or not all(part.isdecimal() and 0 < int(part) < 2**31 for part in parts):
            raise UsageError(f"--shape {text}: expected NAME=SIZE,SIZE,..., for example --shape input=1,3,224,224")
        if name in found:
            raise UsageError(f"--shape {text}: input '{name}' was given a shape before")
        found[name] = tuple(int(part) for part in parts)
    return found


def refuse_unknown(shapes: Shapes, subjects: Sequence[Subject]) -> None:
    """Raise UsageError when a shape is given for an input that no engine has."""
    names = {port.name for subject in subjects for port in subject.inputs}
    for name in shapes:
        if name not in names:
            raise UsageError(f"--shape {name}=...: no engine here has such an input; {suggestion(name, names)}")


def batch_of(subject: Subject, batch: int | None, shapes: Shapes) -> int:
    """Return how many samples one call takes: as asked, as the engine has it, as a shape gives it, or one.

    Raises UsageError where these contradict each other, and for an input without a batch dimension.
    """
    wanted = batch
    for port in subject.inputs:
        if not port.shape:
            raise UsageError(f"input '{port.name}' of {subject.given} is a single number; it needs a batch dimension")
        given = shapes.get(port.name)
        if given is not None and not fits(given, port.shape):
            raise UsageError(
                f"--shape {port.name}={text(given)} does not fit {subject.given}, which has {text(port.shape)}"
            )
        size = port.shape[0] if port.shape[0] is not None else given[0] if given else None
        if size is not None and wanted is not None and size != wanted:
            raise UsageError(
                f"input '{port.name}' of {subject.given} has {size} as its first dimension, but the batch is {wanted}; "
                f"give --batch {size}, or export the engine with a free batch"
            )
        wanted = wanted if size is None else size
    return wanted or 1


def sample_of(port: TensorSpec, shapes: Shapes, given: str) -> tuple[int, ...]:
    """Return the shape of one sample of an input; raises UsageError for a free dimension nobody gives the size of."""
    sizes = shapes.get(port.name, port.shape)[1:]
    known = tuple(size for size in sizes if size is not None)
    if len(known) != len(sizes):
        example = ",".join(str(size or 1) for size in port.shape)
        raise UsageError(
            f"input '{port.name}' of {given} has free dimensions ({text(port.shape)}), so its cost is not defined; say "
            f"with which sizes it is to be measured, for example --shape {port.name}={example}, or give --data"
        )
    return known


def fits(sizes: Sequence[int], shape: Sequence[int | None]) -> bool:
    """Say whether an array of these sizes is of this shape."""
    return len(sizes) == len(shape) and all(known in {None, size} for size, known in zip(sizes, shape, strict=True))


def text(shape: Sequence[int | None]) -> str:
    """Return a shape as it is written after `--shape`, a free dimension as `?`."""
    return ",".join("?" if size is None else str(size) for size in shape)
