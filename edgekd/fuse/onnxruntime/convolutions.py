"""What a convolution in NCHW takes in: padding, an activation, a sum."""

from __future__ import annotations

from edgekd.fuse.onnxruntime.draft import Draft, Operator

_ACTIVATIONS = {"Relu", "Sigmoid", "Tanh", "LeakyRelu", "Clip", "HardSigmoid"}


def fuse_padding(draft: Draft) -> None:
    """Let a convolution pad by zeros itself."""
    for pad in [one for one in draft if one.op == "Pad"]:
        conv = draft.only_reader(pad)
        amounts = draft.values.get(pad.inputs[1]) if len(pad.inputs) > 1 else None
        if conv is None or conv.op != "Conv" or conv.inputs[0] != pad.output or amounts is None:
            continue
        if (
            pad.attributes.get("mode", "constant") != "constant"
            or conv.attributes.get("auto_pad", "NOTSET") != "NOTSET"
        ):
            continue
        value = pad.inputs[2] if len(pad.inputs) > 2 else ""
        around = amounts.reshape(2, -1)
        if (value and not draft.is_scalar(value, 0.0)) or around[:, :2].any() or (around < 0).any():
            continue
        draft.read(conv, 0, pad.inputs[0])
        draft.remove(pad)
        conv.covers = pad.covers + conv.covers


def fuse_activations(draft: Draft) -> None:
    """Let a convolution compute the activation behind it."""
    for conv in list(draft):
        activation = draft.only_reader(conv)
        if conv.op != "Conv" or activation is None or draft.types[conv.inputs[0]] != "f32":
            continue
        constant = all(draft.is_constant(tensor) for tensor in activation.inputs[1:] if tensor)
        if activation.op in _ACTIVATIONS and constant:
            draft.merge(conv, activation, "FusedConv")


def fuse_sums(draft: Draft) -> None:
    """Let a convolution that stays in NCHW add a tensor of its own shape and compute the activation behind that."""
    for conv in draft.ordered():
        add = draft.only_reader(conv)
        if add is None or add.op != "Add" or draft.types[conv.inputs[0]] != "f32":
            continue
        shapes = {draft.shapes[tensor] for tensor in add.inputs}
        if len(shapes) > 1 or len(next(iter(shapes))) != 4:
            continue
        takes = next(
            (p for tensor in add.inputs if (p := draft.producer(tensor)) is not None and _is_free(draft, p)), None
        )
        if takes is None:
            continue
        (other,) = [tensor for tensor in add.inputs if tensor != takes.output] or [takes.output]
        draft.merge(takes, add, "FusedConv")
        draft.read(takes, 3, other)
        activation = draft.only_reader(takes)
        if activation is not None and activation.op in _ACTIVATIONS:
            draft.merge(takes, activation)


def _is_free(draft: Draft, conv: Operator) -> bool:
    plain = conv.op == "Conv" and not conv.blocked and len(conv.inputs) == 3 and not conv.fused
    return plain and len(draft.readers(conv.output)) == 1
