"""From what goes together in a network's weights to groups of channels, heads and head widths."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edgekd.prune.groups import Found, Group, Kind, Member, Part, Side
from edgekd.prune.labels import Attention, Axis, Labels
from edgekd.prune.trace import trace

Unit = frozenset[int]
"""Classes of atoms that go together as one channel of a group."""


class Candidate(NamedTuple):
    """Channels that can stand for each other, before their layers are looked up."""

    kind: Kind
    units: list[Unit]
    queries: Tensor | None = None
    rescaled: bool = False


def find(model: nn.Module, example: Tensor) -> Found:
    """Return every group whose layers edgekd can cut, judged by one pass (`trial` judges by cutting).

    `example` is an input (N, C, H, W) or tokens (N, T). What has to keep its width is named with the reason.
    """
    return Finder(model, trace(model, example[:1]).labels).found


class Finder:
    """Reads groups off the labels of a traced model."""

    def __init__(self, model: nn.Module, labels: Labels) -> None:
        _keep_pieces_equal(labels)
        self.classes = labels.classes()
        self.channel_of: dict[int, tuple[tuple[str, int], ...]] = {}
        """By class, the groups it belongs to and which of their channels it is."""
        self._model, self._labels = model, labels
        self._places = _places(labels, self.classes)
        self._whole = {path for path, _ in labels.whole}
        self.found = self._find()

    def _find(self) -> Found:
        order = {path: place for place, (path, _) in enumerate(self._model.named_modules())}
        named: list[tuple[int, str, Candidate]] = []
        for candidate in self._candidates():
            makers = [axis for axis in self._axes(candidate) if axis in self._labels.made]
            if makers:
                path = min((axis.path for axis in makers), key=order.__getitem__)
                suffix = "" if candidate.kind == "channels" else f":{candidate.kind.replace(' ', '-')}"
                named.append((order[path], path + suffix, candidate))
        groups: dict[str, Group] = {}
        fixed: dict[str, str] = {}
        for _, name, candidate in sorted(named, key=lambda each: each[:2]):
            reason = self._reason(candidate)
            if reason is not None:
                fixed.setdefault(name, reason)
                continue
            again = sum(other.split("#")[0] == name for other in groups)
            own = f"{name}#{again + 1}" if again else name
            groups[own] = self._group(own, candidate)
            for channel, unit in enumerate(candidate.units):
                for each in unit:
                    self.channel_of[each] = (*self.channel_of.get(each, ()), (own, channel))
        return Found(tuple(groups.values()), {name: why for name, why in fixed.items() if name not in groups})

    def _candidates(self) -> Iterator[Candidate]:
        heads = list(self._attentions())
        taken = {each for candidate in heads for unit in candidate.units for each in unit}
        alike: dict[tuple[tuple[Axis, int], ...], list[Unit]] = defaultdict(list)
        for each, places in self._places.items():
            if each not in taken:
                alike[tuple((axis, len(found)) for axis, found in places.items())].append(frozenset([each]))
        yield from (Candidate("channels", units) for units in alike.values())
        yield from heads

    def _attentions(self) -> Iterator[Candidate]:
        seen: set[bytes] = set()
        for site in self._labels.attentions:
            query, value, scores = (self.classes[atoms.numpy()] for atoms in (site.query, site.value, site.scores))
            if query.tobytes() in seen:  # the same layers a second time
                continue
            seen.add(query.tobytes())
            rows = zip(query.tolist(), value.tolist(), scores.tolist(), strict=True)
            yield Candidate("heads", _joined([*q, *v, s] for q, v, s in rows))
            if query.shape == value.shape:
                columns = zip(query.T.tolist(), value.T.tolist(), strict=True)
                units = _joined([*q, *v] for q, v in columns)
                yield Candidate("head width", units, site.query.T, self._scale_follows(site))

    def _scale_follows(self, site: Attention) -> bool:
        """Return whether narrower heads change the scale of the scores: not where a module holds it as a number."""
        width = site.query.shape[1]
        path = self._labels.owner(site.query).path
        owners = [self._model.get_submodule(path.rpartition(".")[0]), self._model.get_submodule(path)]
        numbers = [value for owner in owners for value in vars(owner).values() if isinstance(value, float)]
        return site.scale_follows or not any(np.isclose(number, (width**-0.5, width**0.5)).any() for number in numbers)

    def _axes(self, candidate: Candidate) -> dict[Axis, None]:
        return dict.fromkeys(axis for each in candidate.units[0] for axis in self._places.get(each, ()))

    def _reason(self, candidate: Candidate) -> str | None:
        """Say why a candidate is no group."""
        read = any(axis in self._labels.read for axis in self._axes(candidate))
        if len(candidate.units) > 1 and read:
            return None
        inside = {each for unit in candidate.units for each in unit}
        for atoms, reason in self._labels.reasons:
            if inside.intersection(self.classes[atoms.numpy()].tolist()):
                return reason
        return "a single channel cannot go" if read else "no layer reads these channels on their own"

    def _group(self, name: str, candidate: Candidate) -> Group:
        parts: dict[tuple[str, Side], list[Part]] = defaultdict(list)
        for axis in self._axes(candidate):
            side: Side = "in" if axis in self._labels.read else "out"
            parts[axis.path, side].append(Part(axis.name, axis.axis, self._positions(candidate.units, axis)))
        members = tuple(self._member(path, side, tuple(own)) for (path, side), own in parts.items())
        queries = self._queries(candidate)
        return Group(name, len(candidate.units), members, candidate.kind, queries, candidate.rescaled)

    def _positions(self, units: list[Unit], axis: Axis) -> Tensor:
        rows = [sorted(at for each in unit for at in self._places.get(each, {}).get(axis, ())) for unit in units]
        return torch.tensor(rows)

    def _queries(self, candidate: Candidate) -> Member | None:
        if candidate.queries is None or len(candidate.queries) != len(candidate.units):
            return None
        owner = self._labels.owner(candidate.queries)
        start, size = self._labels.starts[owner]
        positions = candidate.queries - start
        if int(positions.min()) < 0 or int(positions.max()) >= size:
            return None  # put together of several layers: the proof decides
        layer = self._model.get_submodule(owner.path)
        names = [owner.name, *(["bias"] if getattr(layer, "bias", None) is not None else [])]
        return Member(owner.path, "out", positions, tuple(Part(name, 0, positions) for name in names))

    def _member(self, path: str, side: Side, parts: tuple[Part, ...]) -> Member:
        layer = self._model.get_submodule(path)
        positions = max((part.positions for part in parts), key=lambda found: found.shape[1])
        whole = path in self._whole and side == "out"
        if isinstance(layer, nn.modules.conv._ConvNd) and layer.groups > 1 and not whole:
            local = 1 if side == ("out" if layer.transposed else "in") else 0
            if local:  # the axis of the weight counts within a group of the convolution
                size = layer.weight.shape[1]
                starts = torch.arange(layer.groups)[:, None] * size
                positions = torch.stack([(starts + own).flatten() for own in parts[0].positions])
        if isinstance(layer, nn.GroupNorm):
            rows = positions // (layer.num_channels // layer.num_groups)
            whole = len(torch.unique(rows[0])) < layer.num_groups
        return Member(path, side, positions, parts, whole)


def _keep_pieces_equal(labels: Labels) -> None:
    """Let channels at the same place of each piece go together, where code deals an axis out in equal pieces.

    Not where whole pieces are one channel already, and not for heads: these may go one by one.
    """
    classes = labels.classes()
    heads = [site.query.flatten() for site in labels.attentions] + [site.value.flatten() for site in labels.attentions]
    of_heads = np.unique(classes[torch.cat(heads).numpy()]) if heads else np.zeros(0, np.int64)
    for atoms in labels.splits:
        own = classes[atoms.numpy()]
        if not (np.isin(own, of_heads).any() or (own == own[:, :, :1]).all()):
            labels.unite(atoms, atoms[:, :1])


def _places(labels: Labels, classes: NDArray[np.int64]) -> dict[int, dict[Axis, list[int]]]:
    """Return by class where its atoms lie along the axes of weights, in the order in which the axes were met."""
    found: dict[int, dict[Axis, list[int]]] = defaultdict(dict)
    for axis, (start, size) in labels.starts.items():
        for place, each in enumerate(classes[start : start + size].tolist()):
            found[each].setdefault(axis, []).append(place)
    return found


def _joined(rows: Iterable[list[int]]) -> list[Unit]:
    """Return the rows as sets; those that share an element, such as heads with common keys, become one."""
    found: list[set[int]] = []
    for row in rows:
        own = set(row)
        for other in [other for other in found if not own.isdisjoint(other)]:
            own |= other
            found.remove(other)
        found.append(own)
    return [frozenset(each) for each in found]
