"""What a layer computes along with its own work, on values that are still in registers."""

from __future__ import annotations

from math import prod

from edgekd.fuse.openvino.draft import Draft, Step

SIMPLE = {
    *("Relu", "LeakyRelu", "Elu", "Sigmoid", "Tanh", "Clip", "HardSwish", "HardSigmoid", "Gelu", "Mish", "Swish"),
    *("Softplus", "Abs", "Sqrt", "Round", "PRelu", "Neg"),
}
"""Activations that a convolution and a product with constants take in."""

_AFFINE = {"Add", "Sub", "Mul", "Div", "BatchNormalization"}
_QUANTIZERS = {"QuantizeLinear", "FakeQuantize"}

_ROUNDING = {"pool.average": "u8", "interpolate": "f32"}
"""What takes in others only where it reads this type."""

_FOLLOWERS: dict[str, set[str]] = {
    "conv": SIMPLE | _AFFINE | _QUANTIZERS,
    "fully_connected": SIMPLE | _AFFINE | _QUANTIZERS,
    "matmul": SIMPLE | _AFFINE | _QUANTIZERS,
    "conv.transposed": _AFFINE,
    "reduce": SIMPLE | _AFFINE | _QUANTIZERS,
    "interpolate": SIMPLE | _AFFINE | _QUANTIZERS,
    "mvn": SIMPLE | _AFFINE | _QUANTIZERS,
    "normalize": SIMPLE | _AFFINE | _QUANTIZERS,
    "pool.average": _QUANTIZERS,
}


def fuse(draft: Draft) -> None:
    """Merge activations, scales, quantizers and sums into the layers before them."""
    for step in list(draft.steps):
        if step.code in _FOLLOWERS and step in draft.steps:
            _take_simple(draft, step)
    for step in list(draft.steps):
        if step.fused == ["Add"] and len(step.inputs) == 2 and step in draft.steps:
            _add_in_place(draft, step)
    for step in list(draft.steps):
        if step in draft.steps and step.code == "eltwise" and _left_to_plugin(draft, step):
            _take_simple(draft, step)
            step.bundle = 0


def _round_only(draft: Draft, step: Step) -> None:
    """Keep in floats, although rounded, what only elementwise operators read."""
    readers = draft.consumers(step.output)
    if step.code not in {"conv", "fully_connected"}:
        return
    free = step.code == "fully_connected" or step.output not in draft.shifted
    if step.code == "conv" and any(len(reader.inputs) > 1 for reader in readers):
        return
    if free and readers and all(reader.code == "eltwise" for reader in readers):
        draft.types[step.output] = "f32"
        draft.shifted.discard(step.output)


def _take_simple(draft: Draft, step: Step) -> None:
    allowed = _FOLLOWERS.get(step.code, SIMPLE | _AFFINE | _QUANTIZERS)
    if step.code == "fully_connected" and draft.types[step.inputs[0]] == "u8" and draft.rank(step.output) > 3:
        return  # its scales are one kernel with what follows
    if not _rounds(draft, step):
        return
    while (follower := draft.only_consumer(step)) is not None and _fits(draft, step, follower, allowed):
        if _is_rounded(draft, step) and not _requantizes(draft, step, follower):
            return
        if step.fused[-1:] == ["Softplus"] and follower.fused[0] in _QUANTIZERS:
            return
        step.fused += follower.fused
        draft.absorb(step, follower)
        if _is_rounded(draft, step):
            _round_only(draft, step)


def _rounds(draft: Draft, step: Step) -> bool:
    """Return whether the step takes in others, given the type it reads and whether zero points are merged."""
    if step.code == "interpolate" and draft.converted:
        return True
    return _ROUNDING.get(step.code, "") in {"", draft.types[step.inputs[0]]}


def _is_rounded(draft: Draft, step: Step) -> bool:
    return step.fused[-1:] == ["QuantizeLinear"] and draft.types[step.output] == "u8"


def _requantizes(draft: Draft, step: Step, follower: Step) -> bool:
    """Return whether values are rounded once more; possible at once where the first rounding has no zero point."""
    return (
        step.code in {"conv", "interpolate"}
        and follower.fused == ["QuantizeLinear"]
        and step.output not in draft.shifted
    )


def _fits(draft: Draft, step: Step, follower: Step, allowed: set[str]) -> bool:
    if follower.code != "eltwise" or len(follower.fused) != 1 or follower.fused[0] not in allowed:
        return False
    if follower.fused[0] in _AFFINE:
        return len(follower.inputs) == 1 and all(_per_channel(draft, step, shape) for shape in follower.constants)
    return len(follower.inputs) == 1


def _per_channel(draft: Draft, step: Step, constant: tuple[int, ...]) -> bool:
    shape = draft.shapes[step.output]
    if prod(constant) == 1:
        return True
    axis = len(shape) - 1 if step.code in {"fully_connected", "matmul"} else 1
    if step.code == "mvn" and len(shape) < 4:
        return False
    sizes = (1,) * (len(shape) - len(constant)) + constant
    return len(sizes) == len(shape) and sizes[axis] == shape[axis] and prod(sizes) == sizes[axis]


def _add_in_place(draft: Draft, add: Step) -> None:
    """Let a convolution write onto the other operand, when nobody needs that any more."""
    if draft.shapes[add.inputs[0]] != draft.shapes[add.inputs[1]]:
        return
    for own, other in (add.inputs, add.inputs[::-1]):
        conv = draft.producer(own)
        if conv is None or conv.code != "conv" or not set(conv.fused[-1:]) <= _QUANTIZERS:
            continue
        if draft.only_consumer(conv) is add:
            if other not in conv.inputs and _is_free(draft, other, conv, add):
                conv.fused += add.fused
                draft.absorb(conv, add)
                _take_simple(draft, conv)
            return


def _is_free(draft: Draft, tensor: str, conv: Step, add: Step) -> bool:
    """Return whether all who read `tensor` have done so before the convolution runs."""
    made = draft.producer(tensor)
    if made is not None and draft.depends(made, conv):
        return False
    others = (reader for reader in draft.consumers(tensor) if reader is not add)
    return tensor not in draft.graph.outputs and all(draft.depends(conv, reader) for reader in others)


def _left_to_plugin(draft: Draft, step: Step) -> bool:
    """Return whether the compiler of chains leaves an operator alone, because it expects a layer to take it in."""
    codes = {maker.code for name in step.inputs if (maker := draft.producer(name)) is not None}
    return "conv.transposed" in codes or ("conv" in codes and "Add" in step.fused)
