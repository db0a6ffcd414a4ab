"""The bank: what networks were worth in earlier tasks, in the user's cache; a later search need not begin blind.

A row is a task, a network and its score, after AutoTransfer (Cao et al. 2023). Rows belong to no device: latency is no
part of them. A network is written down as its specification; a point means something only within one space, so whoever
reads a row looks where in its own space that network stands.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

from edgekd.errors import UsageError
from edgekd.recipe import ModelSpec
from edgekd.schema import Field, Schema, digest_of, read_json, write_json
from edgekd.search.course import Worth

log = logging.getLogger("edgekd")

CACHED = "bank"
"""The folder of the cache that keeps rows: a folder a task, in it a file a network."""


class Task(Schema):
    """What a score depends on besides the network; two scores are compared only where all of it is the same."""

    key: str = Field(min_length=32, description="digest of data, teacher, training and seed")
    name: str = Field(description="of the data set")
    data: str = Field(description="digest of the data set")
    classes: int
    input_shape: tuple[int, ...] = Field(description="(channels, height, width)")
    samples: int = Field(description="for training")
    epochs: int = Field(description="passes over them in a trial")
    losses: tuple[str, ...] = Field(default=(), description="distillation losses; none: labels only")


class Row(Schema):
    """One network that was scored; each row says all there is to know, so that its file is read alone."""

    schema_version: Literal[1] = 1
    task: Task
    score: Worth


class Said(Schema):
    """What the bank said when a search began; a search that goes on is told the same, whatever was learned since."""

    key: str = Field(description="digest of everything the search depends on")
    rows: tuple[Row, ...]


def keep(cache: Path, task: Task, score: Worth) -> None:
    """Leave a row in the cache; runs side by side do not disturb each other, every file appears whole."""
    path = cache / CACHED / task.key[:32] / f"{network(score.spec)[:32]}.json"
    if not path.is_file():
        write_json(Row(task=task, score=score), path)


def earlier(cache: Path, task: Task) -> tuple[Row, ...]:
    """Return the rows of all other tasks, in an order that depends on nothing but them.

    The task's own scores are facts and not hints: whoever asks for such a network again gets its score from the cache,
    and a search that is repeated asks what it asked before. A file that cannot be read is left out, with one warning.
    """
    found, bad = list[Row](), list[UsageError]()
    for path in sorted((cache / CACHED).glob("*/*.json")):
        try:
            row = read_json(Row, path)
        except UsageError as error:
            bad.append(error)
            continue
        if row.task.key != task.key:
            found.append(row)
    if bad:
        more = f" and {len(bad) - 1} more" if len(bad) > 1 else ""
        log.warning("bank: left out one row%s that cannot be read; delete the file. %s", more, bad[0])
    return tuple(found)


def said(path: Path, key: str, ask: Callable[[], tuple[Row, ...]]) -> tuple[Row, ...]:
    """Return what the bank said to the search called `key`: as kept in `path`, else what it says now, kept there."""
    if path.is_file():
        kept = read_json(Said, path)
        if kept.key == key:
            return kept.rows
    rows = ask()
    write_json(Said(key=key, rows=rows), path)
    return rows


def by_task(rows: Sequence[Row]) -> dict[str, list[Worth]]:
    """Return the scores of every task by its key."""
    found: dict[str, list[Worth]] = {}
    for row in rows:
        found.setdefault(row.task.key, []).append(row.score)
    return found


def network(spec: ModelSpec) -> str:
    """Return the digest by which a network is known again."""
    return digest_of(spec.plain())
