"""BatchNorm folding: a normalisation with fixed statistics becomes part of the layer before it."""

from __future__ import annotations

import torch
from torch import Tensor, fx, nn

from edgekd.quantize.aten import aten

LAYERS = {aten.conv1d.default, aten.conv2d.default, aten.conv2d.padding, aten.linear.default}


def fold_batch_norm(network: fx.GraphModule) -> fx.GraphModule:
    """Fold every BatchNorm that directly follows a layer of its own; the function computed stays the same."""
    for node in list(network.graph.nodes):
        if node.target == aten.batch_norm.default and _foldable(node.args[0]):
            _fold(network, node, node.args[0])
    network.graph.eliminate_dead_code()
    return fx.GraphModule(network, network.graph)


def _foldable(layer: object) -> bool:
    if not isinstance(layer, fx.Node) or layer.target not in LAYERS or len(layer.users) != 1:
        return False
    weight = layer.args[1]
    return isinstance(weight, fx.Node) and weight.op == "get_attr" and len(weight.users) == 1


def _fold(network: fx.GraphModule, norm: fx.Node, layer: fx.Node) -> None:
    statistics = [_value(network, argument) for argument in norm.args[1:5]]
    gamma, beta, mean, variance = (value.double() if isinstance(value, Tensor) else None for value in statistics)
    epsilon = norm.args[7]
    if mean is None or variance is None or not isinstance(epsilon, float):
        return
    factor = (torch.ones_like(mean) if gamma is None else gamma) / torch.sqrt(variance + epsilon)
    weight_node = layer.args[1]
    weight = _value(network, weight_node)
    bias = _value(network, layer.args[2]) if len(layer.args) > 2 else None
    if not isinstance(weight_node, fx.Node) or not isinstance(weight, Tensor):
        return
    old = bias.double() if isinstance(bias, Tensor) else torch.zeros_like(mean)
    shift = (old - mean) * factor + (torch.zeros_like(mean) if beta is None else beta)
    path = str(weight_node.target)
    holder = network.get_submodule(path.rpartition(".")[0])
    scaled = weight.double() * factor.reshape(-1, *[1] * (weight.dim() - 1))
    setattr(holder, path.rpartition(".")[2], nn.Parameter(scaled.to(weight.dtype)))
    holder.register_parameter("bias", nn.Parameter(shift.to(weight.dtype)))
    with network.graph.inserting_after(weight_node):
        bias_node = network.graph.get_attr(f"{path.rpartition('.')[0]}.bias".lstrip("."))
    layer.args = (*layer.args[:2], bias_node, *layer.args[3:])
    norm.replace_all_uses_with(layer)
    network.graph.erase_node(norm)


def _value(network: fx.GraphModule, argument: object) -> object:
    """Return the tensor behind a node that names an attribute, anything else as it is."""
    if not isinstance(argument, fx.Node):
        return argument
    found: object = network
    for part in str(argument.target).split("."):
        found = getattr(found, part)
    return found.detach() if isinstance(found, Tensor) else found
