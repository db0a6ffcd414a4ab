"""The ATen adapter: captures a module with torch.export and reads its operators into the neutral graph."""

from __future__ import annotations

import copy
import operator as python_operator
from typing import Any

import torch
from torch import Tensor, fx, nn

from edgekd.errors import ExportError
from edgekd.export.onnx_file import exported
from edgekd.export.quiet import quiet
from edgekd.placement.graph import MOVING, WEIGHTED, Kind, Operator, OperatorGraph

aten = torch.ops.aten

KINDS: dict[Any, Kind] = {
    aten.conv1d.default: "conv",
    aten.conv2d.default: "conv",
    aten.conv2d.padding: "conv",
    aten.linear.default: "linear",
    aten.sigmoid.default: "sigmoid",
    aten.softmax.int: "softmax",
    aten._softmax.default: "softmax",
    aten.relu.default: "relu",
    aten.adaptive_avg_pool2d.default: "average_pool",
    aten.avg_pool2d.default: "average_pool",
    aten.max_pool2d.default: "max_pool",
    aten.flatten.using_ints: "reshape",
    aten.reshape.default: "reshape",
    aten.unsqueeze.default: "reshape",
    aten.squeeze.dims: "reshape",
    aten.permute.default: "reshape",
    aten.transpose.int: "reshape",
    aten.contiguous.default: "reshape",
    aten.cat.default: "concat",
}
_OF_TWO_ACTIVATIONS: dict[Any, Kind] = {
    aten.add.Tensor: "add",
    python_operator.add: "add",
    aten.mul.Tensor: "mul",
    python_operator.mul: "mul",
    aten.matmul.default: "matmul",
    aten.bmm.default: "matmul",
}
IDENTITIES = {aten.dropout.default, aten.feature_dropout.default, aten.alias.default, aten.detach.default}


def capture(model: nn.Module, example: Tensor) -> fx.GraphModule:
    """Return an independent, trainable copy of `model` in eval mode as a plain graph of ATen operators.

    `example` is any input batch, images (N, C, H, W) or tokens (N, T); the batch stays free. Parameters keep their
    module paths.
    Raises ExportError where torch.export refuses or the network does not map one tensor to one tensor.
    """
    program = exported(copy.deepcopy(model).eval(), tuple(example.shape[1:]), example.dtype)
    with quiet():
        if any(_in_place(node) for node in program.graph.nodes):
            program = program.run_decompositions({})
        network = program.module(check_guards=False)
    return _plain(network)


def _in_place(node: fx.Node) -> bool:
    return bool(getattr(getattr(node.target, "_schema", None), "is_mutable", False))


def _plain(captured: nn.Module) -> fx.GraphModule:
    """Return a fresh module without the calling conventions of torch.export, which forbid training."""
    graph = captured.graph
    if not isinstance(graph, fx.Graph):
        raise ExportError("torch.export returned a module without a graph")
    inputs = [node for node in graph.nodes if node.op == "placeholder"]
    (result,) = [node for node in graph.nodes if node.op == "output"]
    outputs = result.args[0] if isinstance(result.args[0], tuple | list) else (result.args[0],)
    if len(inputs) != 1 or len(outputs) != 1 or not isinstance(outputs[0], fx.Node):
        raise ExportError(
            "only a network that maps one tensor to one tensor can be quantized, "
            f"this one maps {len(inputs)} to {len(outputs)}"
        )
    result.args = (outputs[0],)
    _simplify(graph)
    graph.set_codegen(fx.graph.CodeGen())
    graph.eliminate_dead_code()
    network = fx.GraphModule(captured, graph)
    for parameter in network.parameters():
        parameter.requires_grad_(parameter.is_floating_point())
    return network.eval()


def _simplify(graph: fx.Graph) -> None:
    for node in list(graph.nodes):
        if node.target in IDENTITIES:
            node.replace_all_uses_with(node.args[0])
            graph.erase_node(node)
        elif _is_global_mean(node):
            _pool(graph, node)
        elif node.target == aten.view.default:
            node.target = aten.reshape.default  # a view of a channels-last tensor may not exist


def operators(network: fx.GraphModule) -> OperatorGraph:
    """Read a captured graph into the neutral one; operators are called as the graph's nodes."""
    found: list[Operator] = []
    for node in network.graph.nodes:
        if _is_activation(node):
            inputs = tuple(source.name for source in _read(node))
            found.append(Operator(node.name, _kind(node), inputs, _limit(node)))
    return OperatorGraph(found)


def _is_activation(node: fx.Node) -> bool:
    """Return whether a node makes floats that depend on the input: no weight, no size, no token."""
    if node.op == "output":
        return True
    made = node.meta.get("val")
    return node.op != "get_attr" and isinstance(made, Tensor) and made.is_floating_point()


def _read(node: fx.Node) -> list[fx.Node]:
    return [source for source in node.all_input_nodes if _is_activation(source)]


def _kind(node: fx.Node) -> Kind:
    if node.op == "placeholder":
        return "input"
    if node.op == "output":
        return "output"
    if node.target in _OF_TWO_ACTIVATIONS:
        return _OF_TWO_ACTIVATIONS[node.target] if len(_read(node)) == 2 and not node.kwargs else "other"
    if _limit(node) is not None:
        return "clip"
    kind = KINDS.get(node.target, "other")
    return "other" if kind in WEIGHTED and not _has_stored_weight(node) else kind


def _has_stored_weight(layer: fx.Node) -> bool:
    weight = arguments(layer)[1]
    return isinstance(weight, fx.Node) and weight.op == "get_attr"


def _limit(node: fx.Node) -> float | None:
    if node.target == aten.relu6.default:
        return 6.0
    if node.target in {aten.hardtanh.default, aten.clamp.default}:
        low, high = [*arguments(node)[1:], -1.0, 1.0][:2]
        if low == 0 and isinstance(high, int | float):
            return float(high)
    return None


def _is_global_mean(node: fx.Node) -> bool:
    if node.target != aten.mean.dim:
        return False
    made, dims, *_ = arguments(node)
    return made.meta["val"].dim() == 4 and sorted(dim % 4 for dim in dims) == [2, 3]


def arguments(node: fx.Node) -> tuple[Any, ...]:
    """Return the positional arguments of an operator, whose types its schema knows and the checker does not."""
    return node.args


def _pool(graph: fx.Graph, mean: fx.Node) -> None:
    """Write a mean over all positions as pooling, so that its quantizer stands before the change of shape."""
    keep = len(mean.args) > 2 and bool(mean.args[2])
    with graph.inserting_before(mean):
        result = graph.call_function(aten.adaptive_avg_pool2d.default, (mean.args[0], [1, 1]))
        result.meta = dict(mean.meta)
        if not keep:
            result = graph.call_function(aten.flatten.using_ints, (result, 1))
            result.meta = dict(mean.meta)
    mean.replace_all_uses_with(result)
    graph.erase_node(mean)


def maker(network: fx.GraphModule, node: object) -> nn.Module | None:
    """Return the module that makes a tensor, looking through operators that only move values."""
    while isinstance(node, fx.Node) and KINDS.get(node.target) in MOVING:
        node = node.args[0]
    if not isinstance(node, fx.Node) or node.op != "call_module":
        return None
    return network.get_submodule(str(node.target))
