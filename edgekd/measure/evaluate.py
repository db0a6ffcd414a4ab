"""Accuracy and calibration of the built engines themselves: the device package answers, the labels stay here."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekd.artifact import digest_of_path
from edgekd.connection.answers import write_answers
from edgekd.connection.connection import Connection, reached
from edgekd.disk import whole_file
from edgekd.errors import ExportError, UsageError
from edgekd.figure import Figure, Origin
from edgekd.measure.calibration import ece_bounds, probabilities_of
from edgekd.measure.engine import Engine
from edgekd.measure.statistics import Bounds, accuracy_bounds, drop_bounds
from edgekd.schema import digest_of, write_text
from edgekd.stage import Progress
from edgekd.train.calibration import adaptive_ece, brier_scores

BATCH = 32


@dataclass(frozen=True)
class Answers:
    """What an engine answered to N labelled inputs, as far as it counts."""

    correct: NDArray[np.bool_]
    """(N,): whether the class of the largest output is the label."""
    confidence: NDArray[np.float64]
    """(N,): the probability the engine gave that class."""
    brier: NDArray[np.float64]
    """(N,): the squared distance of all its probabilities from the truth, 0 to 2."""


def outputs(engine: Engine, inputs: Path, destination: Path, *, batch: int, connection: Connection) -> NDArray[Any]:
    """Return what an engine answers to the inputs (N, ...): its first output (N, ...), kept on disk.

    `inputs` is an .npy file or a folder with one per engine input. A `destination` that is already there is taken as it
    is: it appears complete or not at all.
    """
    if not destination.is_file():
        runtime, there = engine.computes_as or engine.runtime, engine.sent(connection)
        write_answers(connection, engine.key, runtime, there, inputs, destination=destination, batch=batch)
    answers: NDArray[Any] = np.load(destination, allow_pickle=False)
    return answers


def evaluate(
    engines: Sequence[Engine],
    inputs: Path,
    labels: NDArray[np.integer],
    folder: Path,
    *,
    progress: Progress,
    title: str,
    batch: int = BATCH,
    connection: Connection | None = None,
) -> dict[str, Answers]:
    """Return by engine key what the engines answer to labelled inputs; their outputs stay in `folder` as .npy.

    `inputs` is an .npy file (N, ...) or a folder of them; an engine's own inputs and batch take their place. Raises
    UsageError when an output is not (N, classes) or a label names no class, ExportError when one is not finite.
    """
    folder.mkdir(parents=True, exist_ok=True)
    digests = {path: digest_of_path(path)[:8] for path in {engine.inputs or inputs for engine in engines}}
    with reached(connection) as place, progress.task(title, len(engines)) as advance:
        where = "" if place.is_here else digest_of(place.name)[:8]  # what one machine answered is not another's

        def answer(engine: Engine) -> Answers:
            eaten = engine.inputs or inputs
            how = "".join(f"-{word}" for word in (engine.computes_as, where) if word)
            destination = folder / f"{engine.key.replace('/', '-')}-{engine.digest[:8]}-{digests[eaten]}{how}.npy"
            size = engine.batch or min(batch, len(labels))
            found = outputs(engine, eaten, destination, batch=size, connection=place)
            advance(1, engine.key)
            return graded(found, labels, engine.key)

        found = place.at_once(answer, engines, place.cores())
    return dict(zip([engine.key for engine in engines], found, strict=True))


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
    connection: Connection | None = None,
) -> dict[str, tuple[Figure, ...]]:
    """Return by engine key accuracy, calibration and, against the engine `baseline`, the paired `accuracy_drop`.

    `images` (N, C, H, W) are what the engines eat, `labels` is (N,). Raises UsageError when images and labels differ in
    number or `baseline` is no engine, and what `evaluate` raises.
    """
    if len(images) != len(labels) or len(images) == 0:
        raise UsageError(f"a split needs as many images as labels; {len(images)} and {len(labels)} were given")
    if baseline is not None and baseline not in {engine.key for engine in engines}:
        raise UsageError(f"the baseline {baseline} is not among the engines {', '.join(e.key for e in engines)}")
    pixels = np.ascontiguousarray(images)
    inputs = folder / f"inputs-{hashlib.sha256(pixels.tobytes()).hexdigest()[:8]}.npy"
    if not inputs.is_file():
        with whole_file(inputs) as unfinished:
            np.save(unfinished, pixels, allow_pickle=False)
    found = evaluate(
        engines, inputs, labels, folder, progress=progress, title=title, batch=batch, connection=connection
    )
    reference = None if baseline is None else found[baseline]
    return {key: figures(answers, reference, origin) for key, answers in found.items()}


def graded(found: NDArray[Any], labels: NDArray[np.integer], key: str) -> Answers:
    """Return which outputs (N, classes) of the engine `key` are right and how sure it was."""
    if found.ndim != 2 or found.shape[1] < 2 or len(found) != len(labels):
        raise UsageError(
            f"{key} answers {len(labels)} inputs with an array of shape {found.shape}; accuracy needs one value a "
            "class and input, (N, classes)"
        )
    broken = int(np.count_nonzero(~np.isfinite(found).all(-1)))
    if broken:
        raise ExportError(
            f"{key} answers {broken} of {len(labels)} inputs with values that are not finite (NaN or infinity); the "
            "engine overflows on them, or they are not what it eats: check the export and the preprocessing"
        )
    if labels.min() < 0 or labels.max() >= found.shape[1]:
        raise UsageError(
            f"the labels go from {labels.min()} to {labels.max()}, but {key} knows {found.shape[1]} classes, "
            f"0 to {found.shape[1] - 1}"
        )
    p = probabilities_of(found)
    return Answers(found.argmax(-1) == labels, p.max(-1), brier_scores(p, labels))


def figures(answers: Answers, reference: Answers | None, origin: Origin) -> tuple[Figure, ...]:
    """Return `accuracy_percent`, against a `reference` the paired `accuracy_drop` in points, and the calibration."""
    bounds: dict[str, Bounds] = {"accuracy_percent": accuracy_bounds(answers.correct)}
    if reference is not None:
        bounds["accuracy_drop"] = drop_bounds(answers.correct, reference.correct)
    bounds["ece"] = ece_bounds(answers.correct, answers.confidence)
    samples = len(answers.correct)
    plain = {
        "adaptive_ece": adaptive_ece(answers.correct, answers.confidence),
        "brier": float(answers.brier.mean()),
    }
    return (
        *(Figure(name=name, origin=origin, samples=samples, **found._asdict()) for name, found in bounds.items()),
        *(Figure(name=name, origin=origin, samples=samples, value=value) for name, value in plain.items()),
    )


def write_raw(path: Path, answers: Mapping[str, Answers]) -> None:
    """Write one JSON line per engine: whether each answer was right, its confidence and its Brier score."""
    lines = [
        {
            "kind": "answers",
            "engine": key,
            "correct": found.correct.astype(int).tolist(),
            "confidence": found.confidence.tolist(),
            "brier": found.brier.tolist(),
        }
        for key, found in answers.items()
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text("".join(json.dumps(line, allow_nan=False) + "\n" for line in lines), path)
