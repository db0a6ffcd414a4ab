"""Probe networks: random segments and whole random networks, whose times per operator teach what fused kernels cost.

A probe is never a published network or a part of one as it stands: depths, widths, resolutions, windows, strides and
activations are drawn. The work is drawn first, log-uniform, and drafts are thrown until one does about that much, so
that small and large kernels of every kind come equally often.
"""

from __future__ import annotations

import math
from random import Random

import onnx

from edgekd.errors import UsageError, suggestion
from edgekd.kernels.dice import Dice
from edgekd.kernels.emission import written
from edgekd.kernels.families import (
    backbones,
    branches,
    chains,
    encoders,
    grouped,
    heads,
    mobile,
    oddments,
    residual,
    stems,
    tokens,
    upsampling,
)
from edgekd.kernels.segment import Kind, Segment

GENERATION = 2
"""Raised whenever a seed gives another network than before, so that no profile is read with the wrong probes."""

_FAMILIES = (
    stems,
    chains,
    residual,
    mobile,
    branches,
    grouped,
    tokens,
    heads,
    upsampling,
    oddments,
    backbones,
    encoders,
)
_BUILDERS: dict[str, Kind] = {name: kind for family in _FAMILIES for name, kind in family.KINDS.items()}

KINDS: dict[str, float] = {name: kind.weight for name, kind in _BUILDERS.items()}
"""The kinds of probes, and how often each is drawn relative to the others."""

USUAL_MACS = (2e5, 6e8)
"""Multiply-accumulate operations of nine probes in ten: some 0.02 to 30 ms on one core."""

ALL_MACS = (1e4, 2e9)
"""Of the others."""

LARGEST_ACTIVATION = 4_000_000
"""Elements."""

TOLERANCE = 1.5
"""A draft is kept when its MACs are within this factor of those wanted."""

PATIENCE = 60
"""Drafts before another size is wanted: a kind may not come that small or that large."""


def draw(random: Random, kind: str | None = None) -> onnx.ModelProto:
    """Return a random probe network: float32, batch 1, one input `input`, static shapes, every node named uniquely.

    `kind` is one of KINDS; None draws it, too. The model's metadata hold what `probe` needs to make it again.
    Raises UsageError for an unknown kind.
    """
    drawn = Dice(random).weighted(KINDS) if kind is None else kind
    return probe(drawn, int(random.random() * 2**32))


def probe(kind: str, seed: int) -> onnx.ModelProto:
    """Return the probe network of this kind and seed, the same one on every machine.

    Raises UsageError for an unknown kind.
    """
    segment = draft(kind, seed)
    notes = {"kind": kind, "seed": str(seed), "generation": str(GENERATION), "macs": str(segment.macs)}
    return written(segment, kind, seed, notes)


def draft(kind: str, seed: int) -> Segment:
    """Return the nodes and shapes of a probe network, without weights: a millisecond's work.

    Raises UsageError for an unknown kind.
    """
    if kind not in _BUILDERS:
        raise UsageError(f"unknown kind of probe network '{kind}'; {suggestion(kind, KINDS)}", word=kind)
    dice = Dice(Random(seed))  # noqa: S311 – nothing secret
    family = _BUILDERS[kind]
    while True:
        (low, high), (least, most) = USUAL_MACS if dice.chance(0.9) else ALL_MACS, family.macs
        wanted = dice.real(max(low, least), min(high, most))
        for _ in range(PATIENCE):
            segment = Segment(dice)
            family.build(segment)
            if _fits(segment, family) and abs(math.log(segment.macs / wanted)) < math.log(TOLERANCE):
                return segment


def _fits(segment: Segment, kind: Kind) -> bool:
    return (
        kind.nodes[0] <= len(segment.nodes) <= kind.nodes[1]
        and segment.largest_elements <= LARGEST_ACTIVATION
        and segment.elements <= kind.elements
        and segment.weight_bytes <= kind.weight_bytes
        and segment.macs > 0
    )
