"""The rows of a benchmark, kept in a file as one JSON a line, so that what was made is not made again."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

R = TypeVar("R")


def rows_in(path: Path | None, of: Callable[..., R]) -> list[R]:
    """Return the rows of a file, each made by `of` from its fields; none where there is no file."""
    if path is None or not path.is_file():
        return []
    with path.open(encoding="utf-8") as file:
        return [of(**json.loads(line)) for line in file]


def add_row(row: DataclassInstance | Mapping[str, Any], path: Path | None) -> None:
    """Add a row to a file, or to none."""
    if path is None:
        return
    fields = row if isinstance(row, Mapping) else asdict(row)
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(fields) + "\n")
