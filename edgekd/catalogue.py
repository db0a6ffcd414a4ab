"""Finds the data files that are shipped beside the code: targets, recipes, profiles."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from edgekd.errors import UsageError, suggestion

Kind = Literal["targets", "recipes", "profiles"]

_PACKAGE = Path(__file__).resolve().parent


def folder(kind: Kind) -> Path:
    """Return the folder that holds the shipped files of a kind: inside an installed wheel, else in the repository."""
    packaged = _PACKAGE / "shipped" / kind
    return packaged if packaged.is_dir() else _PACKAGE.parent / kind


def names(kind: Kind, suffix: str = ".yaml") -> list[str]:
    """Return the names of the shipped files of a kind, sorted."""
    return sorted(path.stem for path in folder(kind).glob(f"*{suffix}"))


def find(kind: Kind, name: str, suffix: str = ".yaml") -> Path:
    """Return the file a user means by `name`: a path of his own, or the name of a shipped file.

    Raises UsageError with the nearest known name when there is neither.
    """
    own = Path(name)
    if own.suffix == suffix or own.parent != Path():
        if os.path.isfile(own):  # unlike Path.is_file it takes a path that is too long for one that is not there
            return own
        raise UsageError(f"no such {kind[:-1]} file: {name}", name)
    shipped = folder(kind) / f"{name}{suffix}"
    if os.path.isfile(shipped):
        return shipped
    raise UsageError(f"unknown {kind[:-1]} '{name}'; {suggestion(name, names(kind, suffix))}", name)


def file(name: Literal["constraints.txt", "docs/recipe-1.schema.json"]) -> Path:
    """Return a single shipped file: inside an installed wheel, else in the repository."""
    packaged = _PACKAGE / "shipped" / name
    return packaged if packaged.is_file() else _PACKAGE.parent / name
