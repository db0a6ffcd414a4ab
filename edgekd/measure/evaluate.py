"""Accuracy of the built engines themselves: the device package answers every input, the labels stay here."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekd.disk import whole_file
from edgekd.errors import UsageError
from edgekd.figure import Figure, Origin
from edgekd.measure.connection import Connection, local
from edgekd.measure.engine import Engine
from edgekd.measure.statistics import Bounds, accuracy_bounds, drop_bounds
from edgekd.measure.turns import usable_cores
from edgekd.stage import Progress

BATCH = 32
TIMEOUT_S = 1800.0


def outputs(engine: Engine, inputs: Path, destination: Path, *, batch: int, connection: Connection) -> NDArray[Any]:
    """Return what an engine answers to the inputs (N, ...) of an .npy file: its first output (N, ...), kept on disk.

    A `destination` that is already there is taken as it is: it appears complete or not at all.
    """
    if not destination.is_file():
        paths = {"engine": engine.path, "inputs": inputs, "outputs": destination}
        request = {"verb": "evaluate", "runtime": engine.runtime, "threads": 1, "batch": batch}
        with connection.start(engine.key) as child:
            child.ask({**request, **{key: str(path.resolve()) for key, path in paths.items()}}, TIMEOUT_S)
    answers: NDArray[Any] = np.load(destination, allow_pickle=False)
    return answers


def evaluate_split(
    engines: Sequence[Engine],
    images: NDArray[np.float32],
    labels: NDArray[np.int64],
    folder: Path,
    *,
    baseline: str | None,
    origin: Origin,
    progress: Progress,
    title: str,
    batch: int = BATCH,
) -> dict[str, tuple[Figure, ...]]:
    """Return by engine key `accuracy_percent` and, against the engine `baseline`, the paired `accuracy_drop` in points.

    `images` (N, C, H, W) are what the engines eat, `labels` is (N,). The outputs (N, classes) of every engine stay in
    `folder` as .npy. Raises UsageError when images and labels differ in number or `baseline` is no engine.
    """
    if len(images) != len(labels) or len(images) == 0:
        raise UsageError(f"a split needs as many images as labels; {len(images)} and {len(labels)} were given")
    if baseline is not None and baseline not in {engine.key for engine in engines}:
        raise UsageError(f"the baseline {baseline} is not among the engines {', '.join(e.key for e in engines)}")
    answers = _answers(engines, np.ascontiguousarray(images), folder, min(batch, len(images)), progress, title)
    correct = {key: answer.argmax(-1) == labels for key, answer in answers.items()}
    reference = None if baseline is None else correct[baseline]
    return {key: _figures(found, reference, origin) for key, found in correct.items()}


def _answers(  # noqa: PLR0917
    engines: Sequence[Engine],
    images: NDArray[np.float32],
    folder: Path,
    batch: int,
    progress: Progress,
    title: str,
) -> dict[str, NDArray[Any]]:
    digest = hashlib.sha256(images.tobytes()).hexdigest()[:8]
    inputs = folder / f"inputs-{digest}.npy"
    if not inputs.is_file():
        with whole_file(inputs) as unfinished:
            np.save(unfinished, images, allow_pickle=False)

    with local() as connection, progress.task(title, len(engines)) as advance:

        def answer(engine: Engine) -> NDArray[Any]:
            destination = folder / f"{engine.key.replace('/', '-')}-{engine.digest[:8]}-{digest}.npy"
            found = outputs(engine, inputs, destination, batch=batch, connection=connection)
            advance(1, engine.key)
            return found

        found = connection.at_once(answer, engines, usable_cores())
        return dict(zip([engine.key for engine in engines], found, strict=True))


def _figures(correct: NDArray[Any], reference: NDArray[Any] | None, origin: Origin) -> tuple[Figure, ...]:
    bounds: dict[str, Bounds] = {"accuracy_percent": accuracy_bounds(correct)}
    if reference is not None:
        bounds["accuracy_drop"] = drop_bounds(correct, reference)
    return tuple(
        Figure(name=name, origin=origin, samples=len(correct), **found._asdict()) for name, found in bounds.items()
    )
