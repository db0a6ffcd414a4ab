"""What a run was asked to do: recipe, target and folder, resolved before anything heavy is imported."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from edgekd import __version__, catalogue
from edgekd import recipe as recipes
from edgekd import target as targets
from edgekd.connection.device import Device
from edgekd.connection.fit import refuse_unfit
from edgekd.connection.ssh import remote
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
    on_target: bool
    """Whether the machine that measures is the target."""
    run_folder: Path
    source: Source = field(default_factory=Source)
    """Where the recipe's keys stand."""
    device: Device | None = None
    """What measures; None: this machine."""
    keeps_choices: bool = False
    """Whether what this run chose by prediction, while the device was not there, stands."""
    foreseen: bool = False
    """Whether the stages have been given the chance to refuse early, in this process: that builds engines."""
    part_of: Path | None = None
    """Run folder of the run of several targets that this one is a part of."""
    beside: tuple[Path, ...] = ()
    """Run folders of the same run's other targets, from which is taken what is the same for every target."""

    @property
    def elsewhere(self) -> bool:
        """Return whether the target's engines run only on the target, which is not at hand."""
        if self.device is not None:
            return False
        foreign = self.target.machine != platform.machine() or self.target.needs_gpu
        return foreign and not self.on_target

    @property
    def key(self) -> str:
        """Return the digest by which a finished run is known again."""
        asked = {"recipe": self.recipe.plain(), "target": self.target.plain(), "version": __version__}
        return digest_of(asked if self.device is None else {**asked, "device": self.device.address})

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
TARGETS = "targets.json"
"""In place of the target, in the folder of a run of several: which those are. Each has its own run folder in there."""


def resumed(run_folder: Path, device: Device | None = None) -> Request:
    """Return the request of a run that was begun in a folder; raises UsageError where none was.

    Where it ended without its device and that is given now, what was chosen stands: only what the device alone can do
    is left, building and measuring.
    """
    recipe, target = run_folder / RECIPE, run_folder / TARGET
    if not (recipe.is_file() and target.is_file()):
        raise UsageError(f"--resume {run_folder}: no run was begun there; give the folder of one (it holds {RECIPE})")
    return replace(resolve(str(recipe), str(target), run_folder, (), device), keeps_choices=device is not None)


def resolve(
    recipe: str,
    target: str | None,
    run_folder: Path | None,
    overrides: tuple[str, ...],
    device: Device | None = None,
) -> Request:
    """Read the recipe, probe the machine that measures and resolve the target.

    A family name stands for the device that answers, where it is one of the family. Raises UsageError for whatever does
    not exist, TargetError for a device that cannot be used or is not what the target says.
    """
    path = catalogue.find("recipes", recipe)
    loaded, source = recipes.read(path, overrides)
    asked = target or loaded.target
    probed, known = (machine.probe(), machine.host_target()) if device is None else _seen(device)
    with (Source() if target else source).located():
        resolved = targets.load(asked, known)
        if known is not None and known in targets.family(asked):
            resolved = targets.load(known)
    if device is not None:
        refuse_unfit(resolved, probed, f"the device {device.address}", known)
    is_it = _fits(resolved, probed)
    if resolved.predict_only:
        raise TargetError(
            f"{resolved.name} is predict-only: {resolved.predict_only}, so nothing is built for it; what a network "
            f"would cost there says: edgekd predict MODEL --target {resolved.name}"
        )
    folder = run_folder or Path("runs") / f"{path.stem}-{resolved.name}"
    return Request(loaded.replace(target=resolved.name), resolved, asked, is_it, folder, source, device)


def _seen(device: Device) -> tuple[dict[str, Any], str | None]:
    """Return what a device says of itself, and which target it is."""
    with remote(device) as connection:
        return connection.probe(), connection.target()


def _fits(target: Target, probed: Mapping[str, Any]) -> bool:
    capability = (probed.get("gpu") or {}).get("compute_capability")
    return target.fits(probed["machine"], frozenset(probed["isa"]), probed.get("model") or "", capability)
