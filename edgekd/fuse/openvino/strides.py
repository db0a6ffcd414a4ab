"""Strides that OpenVINO moves upwards: what a strided 1 x 1 convolution skips is not computed in the first place."""

from __future__ import annotations

from math import prod

from edgekd.fuse.openvino.draft import Draft, Step

_PASSING = {
    *("Relu", "Sigmoid", "Tanh", "HardSwish", "Elu", "Gelu", "Abs", "Sqrt", "Exp", "Erf", "Add", "Sub", "Mul", "Div"),
    "BatchNormalization",
}
"""Elementwise operators a stride moves through."""


def pull_up(draft: Draft) -> None:
    """Move strides to the convolution above, through elementwise operators, or into a pooling over single positions."""
    for step in list(reversed(draft.steps)):
        if step not in draft.steps or not _skips(draft, step):
            continue
        source, strides = step.inputs[0], step.strides
        readers = draft.consumers(source)
        if source in draft.graph.outputs or any(
            reader.strides != strides or not _skips(draft, reader) for reader in readers
        ):
            continue
        if _pull(draft, source, strides):
            for reader in readers:
                reader.strides = (1,) * len(strides)


def _skips(draft: Draft, step: Step) -> bool:
    """Return whether a convolution looks at single positions and leaves some out."""
    if step.code != "conv" or prod(step.strides) == 1 or int(step.node.attributes.get("group", 1)) > 1:
        return False
    window = draft.shapes[step.node.inputs[1]][2:]
    return prod(window) == 1 and not any(step.node.attributes.get("pads", ())) and len(window) == 2


def _pull(draft: Draft, tensor: str, strides: tuple[int, ...]) -> bool:
    made = draft.producer(tensor)
    if made is None:
        return False
    if made.code == "dequantize" and draft.converted:
        return False
    if made.code == "dequantize":
        _pool_floats(draft, made, strides)
        return True
    if made.code == "conv" and int(made.node.attributes.get("group", 1)) == 1:
        made.strides = tuple(own * pulled for own, pulled in zip(made.strides, strides, strict=True))
    elif made.code == "conv" and len(made.constants) > 1:
        _split_bias(draft, made)
        return _pull(draft, tensor, strides)
    elif made.code == "eltwise" and len(made.fused) == 1 and made.fused[0] in _PASSING:
        for name in list(made.inputs):
            if draft.shapes[name] == draft.shapes[tensor]:
                alone = draft.consumers(name) == [made] and name not in draft.graph.outputs
                if not (alone and _pull(draft, name, strides)):
                    _pool(draft, name, strides, made)
    else:
        return False
    _shrink(draft, tensor, strides)
    return True


def _shrink(draft: Draft, tensor: str, strides: tuple[int, ...]) -> None:
    shape = draft.shapes[tensor]
    draft.shapes[tensor] = (*shape[:2], *(-(-size // stride) for size, stride in zip(shape[2:], strides, strict=True)))


def _pool(draft: Draft, tensor: str, strides: tuple[int, ...], reader: Step) -> None:
    pooled = f"{tensor}/strided"
    draft.name(pooled, tensor)
    _shrink(draft, pooled, strides)
    draft.insert(Step("pool.max", [tensor], [pooled], reader.node, strides=strides), reader)
    reader.inputs = [pooled if name == tensor else name for name in reader.inputs]
    draft.reindex()


def _split_bias(draft: Draft, conv: Step) -> None:
    """Let a grouped convolution, through which a stride does not move, add its bias afterwards."""
    product = f"{conv.output}/product"
    draft.name(product, conv.output)
    bias = Step("eltwise", [product], conv.outputs, conv.node, list(conv.covers), ["Add"], bundle=1)
    bias.constants = [(1, draft.shapes[product][1], 1, 1)]
    conv.outputs, conv.constants = [product], conv.constants[:1]
    draft.insert_after(bias, conv)


def _pool_floats(draft: Draft, step: Step, strides: tuple[int, ...]) -> None:
    """Pool between the integers and their scale: what reads it then computes in floats."""
    floats = f"{step.output}/unscaled"
    draft.name(floats, step.output, "f32")
    convert = Step("eltwise", step.inputs, [floats], step.node, [], ["DequantizeLinear"], bundle=1)
    draft.types[step.inputs[0]] = "u8"
    step.code, step.fused, step.inputs, step.bundle = "eltwise", ["Mul"], [floats], 1
    draft.insert(convert, step)
    _pool(draft, floats, strides, step)
    _shrink(draft, step.output, strides)
