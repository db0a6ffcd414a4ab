"""What a run was asked to do: recipe, target and folder, resolved before anything heavy is imported."""

from __future__ import annotations

import platform
from dataclasses import dataclass, field
from pathlib import Path

from edgekd import __version__, catalogue
from edgekd import recipe as recipes
from edgekd import target as targets
from edgekd.errors import TargetError, UsageError
from edgekd.measure import machine
from edgekd.recipe import Recipe, Source
from edgekd.report import RunReport
from edgekd.schema import digest_of, read_json
from edgekd.target import Target


@dataclass(frozen=True)
class Request:
    """A resolved run."""

    recipe: Recipe
    target: Target
    asked_target: str
    host: str | None
    """The shipped target this machine is, None when it is none of them."""
    run_folder: Path
    source: Source = field(default_factory=Source)
    """Where the recipe's keys stand."""

    @property
    def elsewhere(self) -> bool:
        """Return whether the target's engines run only on the target, which is not this machine."""
        foreign = self.target.machine != platform.machine() or self.target.needs_gpu
        return foreign and self.target.name != self.host

    @property
    def key(self) -> str:
        """Return the digest by which a finished run is known again."""
        return digest_of({"recipe": self.recipe.plain(), "target": self.target.plain(), "version": __version__})

    def finished(self) -> RunReport | None:
        """Return the report of an equal run that has ended in this folder, None when there is work to do."""
        path = self.run_folder / "run.json"
        if not path.is_file():
            return None
        try:
            report = read_json(RunReport, path)
        except UsageError as error:
            raise UsageError(f"{error}; or give another --run-folder") from None
        return report if report.key == self.key else None


RECIPE, TARGET = "config.resolved.yaml", "target.yaml"
"""Files of a run folder: what was asked for, so that a run can be taken up again."""


def resumed(run_folder: Path) -> Request:
    """Return the request of a run that was begun in a folder; raises UsageError where none was."""
    recipe, target = run_folder / RECIPE, run_folder / TARGET
    if not (recipe.is_file() and target.is_file()):
        raise UsageError(f"--resume {run_folder}: no run was begun there; give the folder of one (it holds {RECIPE})")
    return resolve(str(recipe), str(target), run_folder, ())


def resolve(recipe: str, target: str | None, run_folder: Path | None, overrides: tuple[str, ...]) -> Request:
    """Read the recipe, probe this machine and resolve the target; raises UsageError for whatever does not exist."""
    path = catalogue.find("recipes", recipe)
    loaded, source = recipes.read(path, overrides)
    asked = target or loaded.target
    host = machine.host_target()
    with (Source() if target else source).located():
        resolved = targets.load(asked, host)
    if resolved.predict_only:
        raise TargetError(
            f"{resolved.name} is predict-only: {resolved.predict_only}, so nothing is built for it; what a network "
            f"would cost there says: edgekd predict MODEL --target {resolved.name}"
        )
    folder = run_folder or Path("runs") / f"{path.stem}-{resolved.name}"
    return Request(loaded.replace(target=resolved.name), resolved, asked, host, folder, source)
