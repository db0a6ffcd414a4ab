"""The kernels of a network at any width of its groups, without building it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any, NamedTuple

from edgekd.profile import Kernel
from edgekd.prune.finding import Finder
from edgekd.prune.trace import Size, Sizes, Trace


class Term(NamedTuple):
    """A part of a size: a number times the widths of groups; of two for rows that are heads times their width."""

    times: int
    groups: tuple[str, ...]


@dataclass(frozen=True)
class KernelsByWidth:
    """The kernels of a network as a function of widths.

    Every size of a kernel is a sum of products of widths (a sum for a concatenation, a multiple for a flattened map),
    read off the channels that lie along it: one pass tells it for operators of any kind.
    """

    whole: tuple[Kernel, ...]
    channels: Mapping[str, int]
    sizes: Mapping[int, Mapping[str, tuple[Term, ...]]]
    """By position of a kernel, the fields that depend on widths."""

    def at(self, widths: Mapping[str, int]) -> tuple[Kernel, ...]:
        """Return the kernels with each named group at its width; a group that is not named is whole."""
        found = list(self.whole)
        changed = [name for name, width in widths.items() if width != self.channels[name]]
        now = {**self.channels, **widths}
        for position in {position for name in changed for position in self._touched.get(name, ())}:
            values: dict[str, Any] = {
                field: sum(term.times * prod(now[name] for name in term.groups) for term in terms)
                for field, terms in self.sizes[position].items()
            }
            found[position] = found[position]._replace(**values)
        return tuple(found)

    @cached_property
    def _touched(self) -> dict[str, set[int]]:
        found: dict[str, set[int]] = defaultdict(set)
        for position, fields in self.sizes.items():
            for name in (name for terms in fields.values() for term in terms for name in term.groups):
                found[name].add(position)
        return found


def by_width(traced: Trace, finder: Finder) -> KernelsByWidth:
    """Return the kernels of a traced network as a function of the widths of the groups that were found."""
    channels = {group.name: group.channels for group in finder.found.groups}
    sizes: dict[int, dict[str, tuple[Term, ...]]] = {}
    for position, own in enumerate(traced.sizes):
        fields = {field: _terms(getattr(own, field), finder, channels) for field in Sizes._fields}
        fields = {field: terms for field, terms in fields.items() if any(term.groups for term in terms)}
        if fields:
            sizes[position] = fields
    return KernelsByWidth(traced.kernels, channels, sizes)


def _terms(size: Size, finder: Finder, channels: Mapping[str, int]) -> tuple[Term, ...]:
    if size.atoms is None:
        return (Term(size.times, ()),)
    lying: dict[tuple[str, ...], list[tuple[tuple[str, int], ...]]] = defaultdict(list)
    for each in finder.classes[size.atoms.numpy()].tolist():
        own = finder.channel_of.get(each, ())
        lying[tuple(name for name, _ in own)].append(own)
    return tuple(_term(size.times, names, own, channels) for names, own in lying.items())


def _term(
    times: int, names: tuple[str, ...], lying: list[tuple[tuple[str, int], ...]], channels: Mapping[str, int]
) -> Term:
    # Along the width of one head there is one channel of the group of heads: their number does not matter there.
    vary = tuple(name for place, name in enumerate(names) if len({own[place] for own in lying}) > 1)
    return Term(times * len(lying) // prod(channels[name] for name in vary), vary)
