"""What may go on in a run folder: the run it holds, with other options or not, but no other run."""

from __future__ import annotations

from edgekd import recipe as recipes
from edgekd.errors import UsageError
from edgekd.pipeline.request import RECIPE, Request
from edgekd.recipe import DataSpec, ModelSpec, Recipe


def refuse_foreign(asked: Request) -> None:
    """Raise UsageError when the folder holds the finished run of another recipe, or what another edgekd wrote.

    Recipes are the same as long as model and data are: other options, limits and targets go on with whatever stages
    they share. A run that has not ended may be mended in any way.
    """
    folder = asked.run_folder
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


def _subject(recipe: Recipe) -> tuple[object, ...]:
    return tuple((spec.name, spec.factory, spec.options) for spec in (recipe.model, recipe.data))


def _words(spec: ModelSpec | DataSpec) -> str:
    options = ", ".join(f"{key} {value}" for key, value in spec.options.items())
    return f"{spec.name or spec.factory}{f' ({options})' if options else ''}"
