"""Placements worth a trial on the target: the rules', and what they leave open.

Where a pair stands decides what is fused: integers around a gate or an attention product may pay or not, and a small
layer may take longer in integers than in float. None of it can be told without measuring.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from edgekd.placement.place import Placement, place
from edgekd.placement.scheme import Scheme
from edgekd.placement.support import optional_kinds, quantized_kinds
from edgekd.quantize.onnx_network import OnnxNetwork
from edgekd.target import Target

RULES = "by the rules"
SMALL = (1e6, 7e6)
"""Multiply-accumulate operations of layers that are tried in float; below 7e6 ONNX Runtime was seen to lose."""


def placements(network: OnnxNetwork, target: Target, scheme: Scheme, kept: Collection[str]) -> dict[str, Placement]:
    """Return the placements by name, the rules' first; those that change nothing are left out."""
    graph, kinds = network.operators, quantized_kinds(target.runtimes)
    found = {RULES: by_the_rules(network, target, scheme, kept)}
    for kind in sorted(optional_kinds(target.runtimes)):
        found[f"with {kind} in integers"] = place(graph, scheme, kinds | {kind}, kept)
    work = {name: macs(network, name) for name in network.layers}
    for limit in SMALL:
        small = [name for name, count in work.items() if count < limit]
        found[f"layers below {limit / 1e6:g} MMACs in float"] = place(graph, scheme, kinds, [*kept, *small])
    sums = [operator.name for operator in graph if operator.kind in {"add", "concat", "average_pool"}]
    found["layers alone in integers"] = place(graph, scheme, kinds, [*kept, *sums])
    different: dict[str, Placement] = {}
    for name, plan in found.items():
        if plan.weights and plan not in different.values():
            different[name] = plan
    return different or {RULES: found[RULES]}


def by_the_rules(network: OnnxNetwork, target: Target, scheme: Scheme, kept: Collection[str]) -> Placement:
    """Return the rules' placement, with the layers of `kept` in float."""
    return place(network.operators, scheme, quantized_kinds(target.runtimes), kept)


def together(plans: Collection[Placement]) -> Placement:
    """Return everything that some placement stores as integers, to be calibrated at once."""
    tensors = {tensor.operator: tensor for plan in plans for tensor in plan.tensors}
    weights = dict.fromkeys(name for plan in plans for name in plan.weights)
    return Placement(tuple(tensors.values()), tuple(weights))


def macs(network: OnnxNetwork, name: str) -> int:
    """Return the multiply-accumulate operations of a layer for one sample."""
    layer = network.layers[name]
    made = network.graph.shapes[layer.source if not layer.collects else name]
    return int(np.prod(made)) * int(np.prod(layer.weight.shape[1:]))
