"""Which layers may be cut, by patterns of their names."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase

from edgekd.errors import UsageError, suggestion
from edgekd.prune.groups import Group
from edgekd.prune.trial import Prunable


def selected(found: Prunable, include: Sequence[str], exclude: Sequence[str]) -> Prunable:
    """Return what may be cut: groups and blocks that fit a pattern of `include` and touch no layer of `exclude`.

    A pattern fits a group by its name or by the path of any of its layers; channels are cut in all of them or in none.
    """
    names = {group.name: _names(group) for group in found.groups}
    fixed = dict(found.fixed)
    for group in found.groups:
        if _fits(names[group.name], exclude):
            fixed[group.name] = "excluded by the recipe"
        elif not _fits(names[group.name], include):
            fixed[group.name] = "not included by the recipe"
    blocks = (block for block in found.blocks if _fits([block.name], include) and not _fits([block.name], exclude))
    groups = (group for group in found.groups if group.name not in fixed)
    return replace(found, groups=tuple(groups), fixed=fixed, blocks=tuple(blocks))


def refuse_unfitting(found: Prunable, include: Sequence[str], exclude: Sequence[str]) -> None:
    """Raise UsageError for a pattern that fits nothing which could be cut."""
    names = {group.name: _names(group) for group in found.groups}
    names |= {block.name: {block.name} for block in found.blocks}
    known = set().union(*names.values())
    for option, patterns in (("include", include), ("exclude", exclude)):
        for pattern in patterns:
            if not _fits(known, [pattern]):
                raise UsageError(
                    f"stages.prune.{option}: the pattern '{pattern}' fits no layer that could be cut; "
                    f"{suggestion(pattern, names)}"
                )


def _names(group: Group) -> set[str]:
    return {group.name, *(member.path for member in group.members if member.path)}


def _fits(names: Iterable[str], patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(name, pattern) for name in names for pattern in patterns)
