"""The names of the kernels: what shares a name runs the same code, with the same law of cost."""

from __future__ import annotations

from math import prod

from edgekd.fuse.openvino.draft import VIEW, Draft, Step
from edgekd.kernel import FusedKernel

FEW_CHANNELS = 4
"""A convolution of so few input channels cannot fill a vector with them."""

NARROW_GROUP = 16
"""Groups of no more channels are computed by another code than wider ones."""


def kernels(draft: Draft) -> list[FusedKernel]:
    """Return the kernel of every step that executes something, in order."""
    made = []
    for step in draft.steps:
        if step.code == VIEW:
            continue
        step.code = _code(draft, step)
        made.append(draft.kernel(step))
    return made


def _code(draft: Draft, step: Step) -> str:
    if step.code == "convert":
        return "reorder.convert"
    integers = bool(step.inputs) and draft.types[step.inputs[0]] in {"u8", "s8"}
    if step.code == "eltwise":
        return _elementwise(draft, step, integers)
    code = _convolution(draft, step) if step.code == "conv" else step.code
    if code == "interpolate":
        mode = step.node.attributes.get("mode", "nearest")
        code = f"interpolate.{mode.decode() if isinstance(mode, bytes) else mode}"
    return f"q{code}" if integers else code


def _elementwise(draft: Draft, step: Step, integers: bool) -> str:
    if step.fused == ["QuantizeLinear"]:
        return "quantize"
    if step.fused == ["DequantizeLinear"]:
        return "dequantize"
    return "qeltwise" if integers or draft.types[step.output] in {"u8", "s8"} else "eltwise"


def _convolution(draft: Draft, step: Step) -> str:
    graph, node = draft.graph, step.node
    channels, per_group, *window = graph.shapes[node.inputs[1]]
    groups = int(node.attributes.get("group", 1))
    if groups > 1:
        if per_group == 1 and channels == groups:
            return "conv.depthwise"
        return "conv.grouped_narrow" if min(per_group, channels // groups) <= NARROW_GROUP else "conv.grouped"
    if per_group <= FEW_CHANNELS:
        return "conv.first"
    return "conv.pointwise" if prod(window) == 1 else "conv"
