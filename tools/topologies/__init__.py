"""Real networks that no probe was made from; the latency predictor is judged on them.

`python -m tools.topologies FOLDER` writes them as ONNX files. Shapes are fixed, the batch is 1, weights are random:
latency depends on neither what a network has learned nor on what it is shown.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from onnx import ModelProto

from tools.topologies import classics, members, mobile, pictures, plain, pruned, residual, shuffled, transformers

_FAMILIES = (classics, residual, mobile, shuffled, plain, pictures, transformers, members, pruned)


def topologies() -> dict[str, Callable[[], ModelProto]]:
    """Return by name what builds each network, in float32; the same bytes every time."""
    return {name: partial(_named, name, build) for family in _FAMILIES for name, build in family.TOPOLOGIES.items()}


def _named(name: str, build: Callable[[], ModelProto]) -> ModelProto:
    model = build()
    model.graph.name = name
    return model
