"""Which layers may be cut, by patterns of their names."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
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
        if fits(names[group.name], exclude):
            fixed[group.name] = "excluded by the recipe"
        elif not fits(names[group.name], include):
            fixed[group.name] = "not included by the recipe"
    blocks = (block for block in found.blocks if fits([block.name], include) and not fits([block.name], exclude))
    groups = (group for group in found.groups if group.name not in fixed)
    return replace(found, groups=tuple(groups), fixed=fixed, blocks=tuple(blocks))


def refuse_unfitting(found: Prunable, include: Sequence[str], exclude: Sequence[str]) -> None:
    """Raise UsageError for a pattern that fits nothing which could be cut."""
    names = {group.name: _names(group) for group in found.groups}
    names |= {block.name: {block.name} for block in found.blocks}
    refuse_patterns("prune", "cut", set().union(*names.values()), include, exclude, shown=names)


def refuse_patterns(  # noqa: PLR0917 - what a sentence about a pattern has to say
    stage: str,
    done: str,
    known: Collection[str],
    include: Sequence[str],
    exclude: Sequence[str],
    shown: Collection[str] | None = None,
) -> None:
    """Raise UsageError for a pattern of a stage that fits none of the layers `known` to it.

    Of these, `shown` are named in the sentence; all where it is absent.
    """
    for option, patterns in (("include", include), ("exclude", exclude)):
        for pattern in patterns:
            if not fits(known, [pattern]):
                raise UsageError(
                    f"stages.{stage}.{option}: the pattern '{pattern}' fits no layer that could be {done}; "
                    f"{suggestion(pattern, known if shown is None else shown)}"
                )


def _names(group: Group) -> set[str]:
    return {group.name, *(member.path for member in group.members if member.path)}


def fits(names: Iterable[str], patterns: Sequence[str]) -> bool:
    """Return whether any of the names fits any of the patterns."""
    return any(fnmatchcase(name, pattern) for name in names for pattern in patterns)
