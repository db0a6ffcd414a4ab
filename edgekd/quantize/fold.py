"""BatchNorm folding: a normalisation with fixed statistics becomes part of the layer before it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, fx, nn

from edgekd.quantize.aten import aten

LAYERS = {aten.conv1d.default, aten.conv2d.default, aten.conv2d.padding, aten.linear.default}


@dataclass(frozen=True)
class Norm:
    """A normalisation with fixed statistics, all of shape (channels,) and in double precision."""

    gamma: Tensor
    beta: Tensor
    mean: Tensor
    variance: Tensor
    epsilon: float

    @property
    def factor(self) -> Tensor:
        """Return what each channel is multiplied by."""
        return self.gamma / torch.sqrt(self.variance + self.epsilon)

    def shift(self, bias: Tensor | None) -> Tensor:
        """Return the bias of a layer and its normalisation together."""
        return self.beta - self.mean * self.factor + (0 if bias is None else bias.double() * self.factor)


def fold_batch_norm(network: fx.GraphModule) -> tuple[fx.GraphModule, dict[str, Norm]]:
    """Fold every BatchNorm that directly follows a layer of its own; the function computed stays the same.

    Returns what was folded by the name of the layer's operator.
    """
    norms = {}
    for node in list(network.graph.nodes):
        if node.target == aten.batch_norm.default and _foldable(node.args[0]):
            norm = _norm(network, node)
            if norm is not None:
                layer = node.args[0]
                absorb(network, layer, str(layer.args[1].target), norm)
                node.replace_all_uses_with(layer)
                network.graph.erase_node(node)
                norms[layer.name] = norm
    network.graph.eliminate_dead_code()
    return fx.GraphModule(network, network.graph), norms


def absorb(network: fx.GraphModule, layer: fx.Node, path: str, norm: Norm) -> None:
    """Put a normalisation into a layer whose weight lies at `path`; the layer gets a bias where it had none."""
    holder_path = path.rpartition(".")[0]
    holder, weight = network.get_submodule(holder_path), network.get_parameter(path)
    given = layer.args[2] if len(layer.args) > 2 else None
    old = network.get_parameter(str(given.target)) if isinstance(given, fx.Node) else None
    bias = norm.shift(None if old is None else old.detach()).to(weight.dtype)
    scaled = (weight.detach().double() * per_channel(norm.factor, weight)).to(weight.dtype)
    holder.register_parameter(path.rpartition(".")[2], nn.Parameter(scaled))
    holder.register_parameter("bias", nn.Parameter(bias))
    with network.graph.inserting_before(layer):
        bias_node = network.graph.get_attr(f"{holder_path}.bias".lstrip("."))
    layer.args = (*layer.args[:2], bias_node, *layer.args[3:])


def per_channel(values: Tensor, weight: Tensor) -> Tensor:
    """Return one value an output channel so that it multiplies a weight."""
    return values.reshape(-1, *[1] * (weight.dim() - 1))


def _foldable(layer: object) -> bool:
    if not isinstance(layer, fx.Node) or layer.target not in LAYERS or len(layer.users) != 1:
        return False
    if layer.target == aten.linear.default and layer.meta["val"].dim() != 2:
        return False  # its channels are the last axis, those of a normalisation the second
    weight = layer.args[1]
    return isinstance(weight, fx.Node) and weight.op == "get_attr" and len(weight.users) == 1


def _norm(network: fx.GraphModule, node: fx.Node) -> Norm | None:
    """Return the normalisation of a node; None where its statistics are not stored."""
    statistics = [_value(network, argument) for argument in node.args[1:5]]
    gamma, beta, mean, variance = (value.double() if isinstance(value, Tensor) else None for value in statistics)
    epsilon = node.args[7]
    if mean is None or variance is None or not isinstance(epsilon, float):
        return None
    ones = torch.ones_like(mean)
    return Norm(ones if gamma is None else gamma, 0 * ones if beta is None else beta, mean, variance, epsilon)


def _value(network: fx.GraphModule, argument: object) -> object:
    """Return the tensor behind a node that names an attribute, anything else as it is."""
    if not isinstance(argument, fx.Node):
        return argument
    found: object = network
    for part in str(argument.target).split("."):
        found = getattr(found, part)
    return found.detach() if isinstance(found, Tensor) else found
