"""One recipe for several targets: which those are, where each is kept, and what is wrong with their list.

The run folder holds a run folder for each target, named after it, that is like any other; beside them stand the recipe,
the list of targets and the summary.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from edgekd import catalogue
from edgekd import recipe as recipes
from edgekd.connection.device import Device
from edgekd.errors import TargetError, UsageError, suggestion
from edgekd.pipeline import request
from edgekd.pipeline.folder import refuse_single
from edgekd.pipeline.request import RECIPE, TARGET, TARGETS, Request
from edgekd.pipeline.summary import FILE, Outcome, Summary
from edgekd.recipe import Recipe
from edgekd.schema import Schema, read_json, write_json, write_text
from edgekd.yaml_file import dump_yaml


@dataclass(frozen=True)
class Wanted:
    """One target as it was asked for."""

    asked: str
    target: str
    """What it is found by: what was asked for, or its file in the folder of a run that is taken up again."""
    name: str | None = None
    """Of the exact target, where the run has found it out before."""
    device: Device | None = None
    keeps_choices: bool = False
    """Whether what was chosen for it while its device was not there stands."""


class _Listed(Schema):
    """One target in the list of a run."""

    asked: str
    name: str | None
    """Of the exact target, and of its folder; None where that could not be found out."""
    device: Device | None
    keeps_choices: bool


class _List(Schema):
    """The targets of a run."""

    schema_version: Literal[1] = 1
    targets: tuple[_Listed, ...]


@dataclass(frozen=True)
class Several:
    """A resolved run of several targets."""

    recipe: Recipe
    run_folder: Path
    wanted: tuple[Wanted, ...]
    resolved: tuple[Request | Outcome, ...]
    """By target: its request, or how it ended where it cannot even be asked."""

    @property
    def requests(self) -> list[Request]:
        """Return the requests of the targets that can be asked."""
        return [found for found in self.resolved if isinstance(found, Request)]

    def replayed(self) -> Summary | None:
        """Return the summary of an equal run that has ended in this folder for all targets, None where work is left."""
        found = []
        for asked in self.resolved:
            report = asked.finished() if isinstance(asked, Request) else None
            if report is None or not isinstance(asked, Request):
                return None
            found.append(Outcome.of_report(asked, report))
        return Summary.of(self.recipe.title, found)

    def begin(self) -> None:
        """Write what was asked for, so that the run can be taken up again."""
        listed = [
            _Listed(
                asked=one.asked,
                name=found.target.name if isinstance(found, Request) else one.name,
                device=one.device,
                keeps_choices=one.keeps_choices,
            )
            for one, found in zip(self.wanted, self.resolved, strict=True)
        ]
        write_text(dump_yaml(self.recipe.plain()), self.run_folder / RECIPE)
        write_json(_List(targets=tuple(listed)), self.run_folder / TARGETS)
        for asked in self.requests:
            write_text(dump_yaml(asked.target.plain()), asked.run_folder / TARGET)


def wanted(targets: Sequence[str], devices: Sequence[tuple[str, Device]]) -> list[Wanted]:
    """Return targets with their devices; raises UsageError for one given twice, or a device of none of them."""
    twice = next((name for name in targets if targets.count(name) > 1), None)
    if twice is not None:
        raise UsageError(f"--target {twice} is given twice; name each target once", twice)
    at = _by_target(devices, targets)
    return [Wanted(name, name, device=at.get(name)) for name in targets]


def resolve(recipe: str, asked: Sequence[Wanted], run_folder: Path | None, overrides: tuple[str, ...]) -> Several:
    """Read the recipe and resolve every target, each in a folder of its own.

    Raises UsageError for whatever does not exist, and for two targets that would share a folder. A device that cannot
    be used, or a target nothing is built for, is the outcome of that target alone.
    """
    path = catalogue.find("recipes", recipe)
    place = run_folder or Path("runs") / path.stem
    refuse_single(place)
    resolved = [_resolved(recipe, one, place, overrides) for one in asked]
    _refuse_shared_folders(asked, resolved, place)
    folders = [found.run_folder for found in resolved if isinstance(found, Request)]
    return Several(
        recipe=recipes.load(path, overrides),
        run_folder=place,
        wanted=tuple(asked),
        resolved=tuple(
            replace(found, beside=tuple(folder for folder in folders if folder != found.run_folder))
            if isinstance(found, Request)
            else found
            for found in resolved
        ),
    )


def is_begun(run_folder: Path) -> bool:
    """Return whether a folder is that of a run of several targets."""
    return (run_folder / TARGETS).is_file()


def resumed(run_folder: Path, devices: Sequence[tuple[str, Device]]) -> Several:
    """Return the run of several targets that was begun in a folder, each with the device it had or is given now.

    Where a target's part ended without its device and that is given now, what was chosen for it stands.
    """
    listed = read_json(_List, run_folder / TARGETS).targets
    at = _by_target(devices, [name for one in listed for name in (one.name, one.asked) if name])
    asked = []
    for one in listed:
        given = at.get(one.name or one.asked) or at.get(one.asked)
        own = run_folder / (one.name or "") / TARGET
        found_by = str(own) if one.name and own.is_file() else one.asked
        keeps_choices = one.keeps_choices or given is not None
        asked.append(Wanted(one.asked, found_by, one.name, given or one.device, keeps_choices))
    return resolve(str(run_folder / RECIPE), asked, run_folder, ())


def _by_target(devices: Sequence[tuple[str, Device]], known: Sequence[str]) -> Mapping[str, Device]:
    found: dict[str, Device] = {}
    for target, device in devices:
        if target not in known:
            raise UsageError(
                f"--device {target}={device.address}: no such target here; {suggestion(target, known)}", target
            )
        if target in found:
            raise UsageError(f"--device is given twice for {target}; a target is measured on one device", target)
        found[target] = device
    return found


def _resolved(recipe: str, one: Wanted, place: Path, overrides: tuple[str, ...]) -> Request | Outcome:
    try:
        found = request.resolve(recipe, one.target, None, overrides, one.device)
    except TargetError as error:
        return Outcome.of_error(one.name or one.asked, one.asked, error)
    folder = place / found.target.name
    return replace(found, asked_target=one.asked, run_folder=folder, part_of=place, keeps_choices=one.keeps_choices)


def _refuse_shared_folders(asked: Sequence[Wanted], resolved: Sequence[Request | Outcome], place: Path) -> None:
    """Raise UsageError for two targets in one folder; on some disks names that differ in case alone are one."""
    own = (RECIPE, TARGETS, FILE, "search.json", ".lock")
    taken = {name.casefold(): f"the run's own file {name}" for name in own}
    for one, found in zip(asked, resolved, strict=True):
        if not isinstance(found, Request):
            continue
        name = found.target.name
        other = taken.setdefault(name.casefold(), one.asked)
        if other != one.asked:
            raise UsageError(
                f"{other} and {one.asked} would both be kept in {place / name}; leave one of them out, or give a "
                "target file of your own another name",
                one.asked,
            )
