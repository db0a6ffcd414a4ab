"""One set of weights for all networks of a space: of every tensor a network takes the first channels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call

from edgekd.errors import UsageError
from edgekd.models.build import outline
from edgekd.models.transformer import stacked
from edgekd.search.candidate import untrained
from edgekd.search.choice import in_words
from edgekd.search.space import Point, Space

_BLOCKS = "blocks"
"""What a family calls the modules that stand in rows."""
_LAYOUTS = 64
"""Networks whose layout is kept: two of every step are always the same."""


class _Place(NamedTuple):
    """A parameter of a network, and the tensor that it is a part of."""

    name: str
    shared: str
    size: tuple[int, ...]
    stacked: int
    """Of how many parameters of equal size it consists, along its first axis."""


class SharedWeights(nn.Module):
    """Tensors as large as the largest network needs them; the networks of a space are views of them.

    Two networks share a layer that stands at the same place of the same row. Of its channels the narrower one has the
    first (of queries, keys and values in one layer the first of each), of its kernel the smaller one the middle (Cai et
    al. 2020, 'Once-for-All', arXiv 1908.09791; without their transformation of kernels). BatchNorms share scale and
    shift, never statistics: while shared weights are trained, every network goes by those of the batch at hand.
    """

    def __init__(self, space: Space, points: Sequence[Point], input_shape: tuple[int, int, int], classes: int) -> None:
        """Make room for the networks at some points, by growing cost; weights follow torch's global seed.

        Raises UsageError where layers of one place differ in more than size, or a network is a factory's.
        """
        super().__init__()
        self._space, self.points, self._shape, self._classes = space, tuple(points), input_shape, classes
        self._layout = lru_cache(_LAYOUTS)(self._laid_out)
        sizes: dict[str, tuple[int, ...]] = {}
        for point in points:
            for name, shared, own, _ in self._layout(point)[1]:
                known = sizes.setdefault(shared, own)
                if len(known) != len(own):
                    raise UsageError(
                        f"the networks of this space cannot share weights: '{name}' of {in_words(space.at(point))} has "
                        f"shape {own}, in its place another one has {known}; try them out with the stage 'trials'"
                    )
                sizes[shared] = tuple(map(max, known, own))
        self.tensors = nn.ParameterDict({name: _first_values(name, size) for name, size in sorted(sizes.items())})

    def forward(self, x: Tensor) -> Tensor:
        """Return what the dearest network answers, (N, classes) logits."""
        return self.through(self.points[-1], x)

    def through(self, point: Point, x: Tensor) -> Tensor:
        """Return what the network at a point answers to a batch, by the batch's own statistics."""
        module, layout = self._layout(point)
        parts = {place.name: self._part(place) for place in layout}
        answer: Tensor = functional_call(module, parts, (x,))
        return answer

    @torch.no_grad()
    def network(self, point: Point) -> nn.Module:
        """Return the network at a point with a copy of its weights; its BatchNorms have no statistics yet."""
        module = untrained(self._space.at(point), self._shape, self._classes)
        own = dict(module.named_parameters())
        for place in self._layout(point)[1]:
            own[place.name].copy_(self._part(place))
        return module

    def _part(self, place: _Place) -> Tensor:
        size = (place.size[0] // place.stacked, *place.size[1:])
        parts = [_first(whole, size) for whole in self.tensors[place.shared].chunk(place.stacked)]
        return torch.cat(parts) if len(parts) > 1 else parts[0]

    def _laid_out(self, point: Point) -> tuple[nn.Module, list[_Place]]:
        """Return the module at a point without weights, and the place of each of its parameters."""
        module = outline(self._space.at(point), self._shape, self._classes).train()
        for norm in module.modules():
            if isinstance(norm, nn.BatchNorm2d):
                norm.running_mean = norm.running_var = norm.num_batches_tracked = None
        if any(True for _ in module.buffers()):
            _take_buffers(module, untrained(self._space.at(point), self._shape, self._classes))
        names = dict(_shared_names(module, self._space.rows(point)))
        parts = stacked(module)
        return module, [
            _Place(name, names[name], tuple(p.shape), parts.get(name.rpartition(".")[0], 1))
            for name, p in module.named_parameters()
        ]


def _take_buffers(outlined: nn.Module, network: nn.Module) -> None:
    """Give an outline the constants it has no values of, such as the mask of attention."""
    for path, part in outlined.named_modules():
        for name, _ in part.named_buffers(recurse=False):
            setattr(part, name, network.get_submodule(path).get_buffer(name))


def _first(whole: Tensor, size: tuple[int, ...]) -> Tensor:
    """Return the first entries along every axis; along height and width of a kernel those in the middle."""
    pairs = enumerate(zip(whole.shape, size, strict=True))
    starts = [(most - own) // 2 if axis >= 2 and whole.dim() == 4 else 0 for axis, (most, own) in pairs]
    return whole[tuple(slice(start, start + own) for start, own in zip(starts, size, strict=True))]


def _shared_names(module: nn.Module, rows: Sequence[int]) -> Iterator[tuple[str, str]]:
    """Yield for every parameter the name of the tensor it is a part of.

    Blocks are numbered row by row. Any other sequence is counted from its end, where layers that may be left out, such
    as the expansion of a bottleneck, stand in front.
    """
    sizes = {path: len(part) for path, part in module.named_modules() if isinstance(part, nn.Sequential)}
    places = [f"row{row}-{number}" for row, count in enumerate(rows) for number in range(count)]
    for name, _ in module.named_parameters():
        told, parts = [], name.split(".")
        for depth, part in enumerate(parts):
            parent = ".".join(parts[:depth])
            if parent == _BLOCKS and places:
                told.append(places[int(part)])
            else:
                told.append(str(int(part) - sizes[parent]) if parent in sizes else part)
        yield name, "/".join(told)


def _first_values(name: str, size: tuple[int, ...]) -> nn.Parameter:
    """Return kernels as He et al. 2015 begin, matrices as torch does, norms as the identity and no bias."""
    tensor = torch.zeros(size)
    if len(size) > 2:
        nn.init.kaiming_normal_(tensor, mode="fan_out", nonlinearity="relu")
    elif len(size) == 2:
        nn.init.kaiming_uniform_(tensor, a=5**0.5)
    elif name.endswith("weight"):
        nn.init.ones_(tensor)
    return nn.Parameter(tensor)
