"""What may go on in a run folder: the run it holds, with other options or not, but no other run."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgekd import recipe as recipes
from edgekd.errors import UsageError
from edgekd.pipeline.request import RECIPE, TARGET, TARGETS, Request
from edgekd.recipe import DataSpec, ModelSpec, Recipe


def refuse_foreign(asked: Request) -> None:
    """Raise UsageError when the folder holds the finished run of another recipe, or what another edgekd wrote.

    Recipes are the same as long as model and data are: other options, limits and targets go on with whatever stages
    they share. A run that has not ended may be mended in any way.
    """
    folder = asked.run_folder
    if (folder / TARGETS).is_file():
        raise UsageError(
            f"{folder} holds a run of several targets; give another --run-folder, or that of one of its targets"
        )
    if not (folder / RECIPE).is_file():
        return
    try:
        held = recipes.load(folder / RECIPE)
    except UsageError as error:
        raise UsageError(f"{error}; or give another --run-folder") from None
    if (folder / "run.json").is_file() and _subject(held) != _subject(asked.recipe):
        raise UsageError(
            f"{folder} holds the finished run of another recipe ({_words(held.model)} on {_words(held.data)}), not of "
            f"{_words(asked.recipe.model)} on {_words(asked.recipe.data)}; give another --run-folder, or delete that "
            "one to start over"
        )


def refuse_single(folder: Path) -> None:
    """Raise UsageError when a folder for several targets holds the run of one."""
    if (folder / TARGET).is_file():
        raise UsageError(
            f"{folder} holds a run of one target, so several have no place there; give another --run-folder"
        )


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Hold a run folder's lock; raises UsageError when another run works there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise UsageError(f"--run-folder {folder}: a file is in the way; give a folder") from None
    with (folder / ".lock").open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError(f"another run works in {folder}; wait for it or give another --run-folder") from None
        yield


def _subject(recipe: Recipe) -> tuple[object, ...]:
    return tuple((spec.name, spec.factory, spec.options) for spec in (recipe.model, recipe.data))


def _words(spec: ModelSpec | DataSpec) -> str:
    options = ", ".join(f"{key} {value}" for key, value in spec.options.items())
    return f"{spec.name or spec.factory}{f' ({options})' if options else ''}"
