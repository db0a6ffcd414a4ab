"""What every runtime does to a graph before its own rules: no copies, no separate normalisation, nothing unused."""

from __future__ import annotations

from dataclasses import replace

from edgekd.onnx_graph.inference import Draft
from edgekd.onnx_graph.node import Node

_AFFINE = {"Mul": True, "Div": True, "Add": False, "Sub": False}
"""Operators with a constant a convolution takes in, and whether that changes its weights, not only its bias."""


def simplify(draft: Draft) -> None:
    """Remove copies, fold normalisation and per-channel factors into layers, and drop what nothing reads, in place."""
    _drop_copies(draft)
    _transpose_integers(draft)
    _fold_into_layers(draft)
    _drop_dead(draft)


def _drop_copies(draft: Draft) -> None:
    names: dict[str, str] = {}
    """What a tensor is called once the copies are gone."""
    made = {output for node in draft.nodes for output in node.outputs}
    kept = []
    for node in draft.nodes:
        inputs = tuple(names.get(name, name) for name in node.inputs)
        if not _copies(draft, node):
            kept.append(replace(node, inputs=inputs))
            continue
        source, target = inputs[0], node.outputs[0]
        if target not in draft.outputs:
            names[target] = source
        elif source in made and source not in draft.outputs:
            names |= {name: target for name, meant in names.items() if meant == source}
            names[source] = target
            kept = [_renamed(other, source, target) for other in kept]
        else:
            kept.append(replace(node, inputs=inputs))
    draft.nodes = kept


def _copies(draft: Draft, node: Node) -> bool:
    source, target = (node.inputs or ("",))[0], node.outputs[0]
    if node.op == "Cast":
        return draft.types[source] == draft.types[target]
    if node.op == "Dropout":
        training = draft.values.get(node.inputs[2]) if len(node.inputs) > 2 else None
        return not any(node.outputs[1:]) and not (training is not None and training.item())
    return node.op == "Identity" or (node.op in {"Sum", "Concat"} and len(node.inputs) == 1)


def _renamed(node: Node, old: str, new: str) -> Node:
    return replace(
        node,
        inputs=tuple(new if name == old else name for name in node.inputs),
        outputs=tuple(new if name == old else name for name in node.outputs),
    )


def _transpose_integers(draft: Draft) -> None:
    """Dequantize transposed integers where dequantized ones are transposed, as in weights of linear layers."""
    makers = {output: node for node in draft.nodes for output in node.outputs}
    for position, node in enumerate(draft.nodes):
        maker = makers.get(node.inputs[0]) if node.op == "Transpose" else None
        if maker is None or maker.op != "DequantizeLinear" or maker.inputs[0] in makers:
            continue
        integers, scale, *_ = maker.inputs
        if integers not in draft.constants or len(draft.shapes[scale]) > 1:
            continue
        shape, target = draft.shapes[integers], f"{node.outputs[0]}.integers"
        order = node.attributes.get("perm", tuple(reversed(range(len(shape)))))
        value = draft.values.get(integers)
        turned = None if value is None else value.transpose(order)
        draft.store(target, tuple(shape[axis] for axis in order), draft.types[integers], turned)
        axis = order.index(maker.attributes.get("axis", 1) % len(shape)) if draft.shapes[scale] else 0
        draft.nodes[position] = replace(
            maker,
            name=node.name,
            inputs=(target, *maker.inputs[1:]),
            outputs=node.outputs,
            attributes={**maker.attributes, "axis": axis},
        )


def _fold_into_layers(draft: Draft) -> None:
    readers: dict[str, list[int]] = {}
    for position, node in enumerate(draft.nodes):
        for name in dict.fromkeys(node.inputs):
            readers.setdefault(name, []).append(position)
    made = {output for node in draft.nodes for output in node.outputs}
    nodes: list[Node | None] = list(draft.nodes)
    for position, layer in enumerate(draft.nodes):
        folded = layer
        while True:
            users = readers.get(folded.outputs[0], [])
            follower = nodes[users[0]] if len(users) == 1 and folded.outputs[0] not in draft.outputs else None
            if follower is None or not _takes_in(draft, folded, follower, made):
                break
            folded = _merged(draft, folded, follower)
            nodes[users[0]] = None
        if folded is not layer:
            nodes[position] = folded
    draft.nodes = [node for node in nodes if node is not None]


def _takes_in(draft: Draft, layer: Node, follower: Node, made: set[str]) -> bool:
    """Return whether the layer can do the follower's work by other weights; made by an operator they stay."""
    if layer.op not in {"Conv", "ConvTranspose", "Gemm"}:
        return False
    stored = draft.constants - made
    if any(name not in stored for name in layer.inputs[1:] if name):
        return False
    if follower.op == "BatchNormalization":
        return follower.inputs[0] == layer.outputs[0] and all(name in stored for name in follower.inputs[1:])
    if layer.op != "Conv" or follower.op not in _AFFINE:
        return False
    first, second = follower.inputs
    if first != layer.outputs[0]:
        if follower.op in {"Sub", "Div"}:
            return False
        first, second = second, first
    return first != second and second in stored and _is_per_channel(draft.shapes[second], draft.shapes[first])


def _is_per_channel(constant: tuple[int, ...], result: tuple[int, ...]) -> bool:
    if len(constant) > len(result):
        return False
    sizes = (1,) * (len(result) - len(constant)) + constant
    return sizes[1] in {1, result[1]} and all(size == 1 for axis, size in enumerate(sizes) if axis != 1)


def _merged(draft: Draft, layer: Node, follower: Node) -> Node:
    """Return the layer with new weights, whose values nobody needs, and the follower's result."""
    result = follower.outputs[0]
    channels = draft.shapes[result][1]
    data, weight, *bias = layer.inputs
    type_ = draft.types[weight]
    if _AFFINE.get(follower.op, True):
        draft.store(f"{result}.weight", draft.shapes[weight], type_)
        weight = f"{result}.weight"
    if follower.op not in {"Mul", "Div"} or any(bias):
        draft.store(f"{result}.bias", (channels,), type_)
        bias = [f"{result}.bias"]
    return replace(layer, inputs=(data, weight, *bias), outputs=(result,))


def _drop_dead(draft: Draft) -> None:
    needed = set(draft.outputs)
    alive = []
    for node in reversed(draft.nodes):
        if needed.intersection(node.outputs):
            needed.update(node.inputs)
            alive.append(node)
    draft.nodes = alive[::-1]
    draft.inputs = tuple(name for name in draft.inputs if name in needed)
