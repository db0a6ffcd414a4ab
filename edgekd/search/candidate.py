"""Candidates: networks nobody has trained, and which of them are worth measuring."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from edgekd.models.build import build
from edgekd.models.kernels import kernels, parameters
from edgekd.predict.features import features
from edgekd.profile import Kernel
from edgekd.recipe import ModelSpec


@dataclass(frozen=True)
class Candidate:
    """A network nobody has trained: what it is and what it consists of."""

    name: str
    spec: ModelSpec
    kernels: tuple[Kernel, ...]
    parameters: int


def candidate(name: str, spec: ModelSpec, input_shape: tuple[int, int, int], classes: int) -> Candidate:
    """Return what is to be known about a network before any training; raises UsageError when it cannot be built."""
    module = untrained(spec, input_shape, classes)
    return Candidate(name, spec, kernels(module, input_shape), parameters(module))


def spread(teacher: Candidate, choices: Sequence[Candidate], count: int, step: int) -> list[Candidate]:
    """Return `count` choices as different from the teacher and from each other as possible, cheapest first.

    Each one taken is the farthest, in the logarithms of the predictor's features, from all taken before
    (Gonzalez 1985's rule for k centres): small and large, deep and narrow, shallow and wide.
    """
    places = [np.log1p(features(c.kernels, step)) for c in (teacher, *choices)]
    taken = [0]
    while len(taken) <= min(count, len(choices)):
        gaps = [min(float(np.linalg.norm(place - places[t])) for t in taken) for place in places]
        farthest = int(np.argmax(gaps))
        if gaps[farthest] == 0:
            break
        taken.append(farthest)
    return [choices[position - 1] for position in sorted(taken[1:])]


def untrained(spec: ModelSpec, input_shape: tuple[int, int, int], classes: int) -> nn.Module:
    """Build a network without touching the caller's random numbers; the seed is fixed so that engines replay."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build(spec.replace(weights=None), input_shape, classes).eval()


def narrowest(kernels: Sequence[Kernel], step: int) -> tuple[Kernel, ...]:
    """Return what would be left of a network if pruning took all it may from every layer.

    A quarter of each width stays, and at least one step; the image's channels and the classes stay as they are.
    """

    def left(channels: int) -> int:
        return min(channels, -(-channels // (4 * step)) * step)

    found, of_image = [], True
    for position, kernel in enumerate(kernels):
        inputs = kernel.in_channels if of_image else left(kernel.in_channels)
        of_image = of_image and kernel.op == "pool"  # before the first layer the image may be made smaller
        outputs = kernel.out_channels if of_image or position == len(kernels) - 1 else left(kernel.out_channels)
        groups = inputs if kernel.groups == kernel.in_channels > 1 else min(kernel.groups, inputs)
        found.append(kernel._replace(in_channels=inputs, out_channels=outputs, groups=groups))
    return tuple(found)
