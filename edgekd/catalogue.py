"""Finds data files: targets, recipes, profiles, shipped beside the code, and the user's own targets."""

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


def configuration() -> Path:
    """Return the folder of edgekd in the user's configuration."""
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "edgekd"


def own_targets() -> Path:
    """Return the folder of the user's own targets: `EDGEKD_TARGETS`, else `targets` in his configuration."""
    own = os.environ.get("EDGEKD_TARGETS")
    return Path(own) if own else configuration() / "targets"


def names(kind: Kind, suffix: str = ".yaml") -> list[str]:
    """Return the names of the files of a kind, sorted, the user's own before the shipped ones."""
    places = [sorted(path.stem for path in place.glob(f"*{suffix}")) for place in _places(kind)]
    return list(dict.fromkeys(name for found in places for name in found))


def find(kind: Kind, name: str, suffix: str = ".yaml") -> Path:
    """Return the file a user means by `name`: a path of his own, or the name of one of his targets or a shipped file.

    Raises UsageError with the nearest known name when there is neither.
    """
    own = Path(name)
    if own.suffix == suffix or own.parent != Path():
        if os.path.isfile(own):  # unlike Path.is_file it takes a path that is too long for one that is not there
            return own
        raise UsageError(f"no such {kind[:-1]} file: {name}", name)
    for place in _places(kind):
        if os.path.isfile(place / f"{name}{suffix}"):
            return place / f"{name}{suffix}"
    raise UsageError(f"unknown {kind[:-1]} '{name}'; {suggestion(name, names(kind, suffix))}", name)


def _places(kind: Kind) -> list[Path]:
    return [own_targets(), folder(kind)] if kind == "targets" else [folder(kind)]


def file(name: Literal["constraints.txt", "docs/recipe-1.schema.json"]) -> Path:
    """Return a single shipped file: inside an installed wheel, else in the repository."""
    packaged = _PACKAGE / "shipped" / name
    return packaged if packaged.is_file() else _PACKAGE.parent / name
