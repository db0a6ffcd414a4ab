"""Permutations of axes, as the `perm` of a Transpose."""

from __future__ import annotations

Perm = tuple[int, ...]


def to_last(rank: int) -> Perm:
    """Return how (N, C, *positions) becomes (N, *positions, C)."""
    return (0, *range(2, rank), 1)


def to_first(rank: int) -> Perm:
    """Return how (N, *positions, C) becomes (N, C, *positions)."""
    return (0, rank - 1, *range(1, rank - 1))


def inverse(perm: Perm) -> Perm:
    """Return the permutation that undoes `perm`."""
    return tuple(perm.index(axis) for axis in range(len(perm)))


def split(before: tuple[int, ...], after: tuple[int, ...], perm: Perm) -> list[Perm] | None:
    """Return what becomes of a permutation behind a Reshape that cuts axes into several; None for any other."""
    groups: list[list[int]] = []
    place = 0
    for size in before:
        group = [place]
        found = after[place] if place < len(after) else 0
        while 0 < found < size and place + 1 < len(after):
            place += 1
            group.append(place)
            found *= after[place]
        if found != size:
            return None
        groups.append(group)
        place += 1
    if place != len(after):
        return None
    stored = [axis for source in range(len(perm)) for axis in groups[perm.index(source)]]
    return [tuple(stored.index(axis) for axis in range(len(after)))]


def without(perm: Perm, axes: list[int]) -> tuple[Perm, list[int]]:
    """Return a permutation of which axes of the result are removed, and these axes before it."""
    gone = sorted(perm[axis] for axis in axes)
    left = [axis for axis in perm if axis not in gone]
    return tuple(sorted(left).index(axis) for axis in left), gone


def widened(perm: Perm, axes: list[int]) -> Perm:
    """Return a permutation with further axes of the result, which stay where they are."""
    old = [axis for axis in range(len(perm) + len(axes)) if axis not in axes]
    full = list(range(len(perm) + len(axes)))
    for place, axis in zip(old, perm, strict=True):
        full[place] = old[axis]
    return tuple(full)
