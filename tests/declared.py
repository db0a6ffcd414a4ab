"""What a wheel declares, taken from the packages of this environment: no download, nothing unpacked, nothing else."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.metadata import Distribution, distribution, distributions
from pathlib import Path

from packaging.requirements import Requirement


def closure(wheel: Path, *extras: str) -> list[Distribution]:
    """Return what pip would install beside the wheel; raises where one is not here, or not in a version asked for.

    Only what the metadata declares is followed, so that a package that happens to be here is no dependency.
    """
    (own,) = distributions(path=[str(wheel)])
    found: dict[tuple[str, frozenset[str]], Distribution] = {}
    asked: list[tuple[Distribution, Iterable[str]]] = [(own, extras)]
    while asked:
        of, chosen = asked.pop()
        for needed in map(Requirement, of.requires or ()):
            if needed.marker and not any(needed.marker.evaluate({"extra": extra}) for extra in ("", *chosen)):
                continue
            key = (needed.name, frozenset(needed.extras))
            if key not in found:
                found[key] = distribution(needed.name)
                asked.append((found[key], needed.extras))
            if not needed.specifier.contains(found[key].version, prereleases=True):
                raise ValueError(f"{of.name} declares {needed}, and the locked set has {found[key].version}")
    return list(found.values())


def lay_out(packages: Iterable[Distribution], site: Path) -> None:
    """Link every file of these packages into a folder of site-packages; scripts would start another Python."""
    made = {site}
    for package in packages:
        for file in package.files or ():
            link, source = site / file, Path(str(package.locate_file(file)))
            if ".." in file.parts or link.is_symlink() or not source.is_file():
                continue
            if link.parent not in made:
                link.parent.mkdir(parents=True, exist_ok=True)
                made.add(link.parent)
            link.symlink_to(source)
