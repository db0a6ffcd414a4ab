"""Training with BatchNorm where the engine has none: folded normalisations come back for as long as training lasts.

A folded weight is awkward to train: what the normalisation did for its gradients is lost. But with one symmetric step
an output channel, folding before the quantizer and behind it is the same: the integers of `w * f` in steps of
`s * |f|` are those of `w` in steps of `s`, up to their sign. So a layer is trained as `norm(conv(x, quantized(w)))`,
with the statistics of every batch, and what is folded again afterwards computes what was trained, integer by integer.
No correction and no freezing of statistics is needed, as it is where a folded weight has a single step
(Krishnamoorthi 2018, https://arxiv.org/abs/1806.08342).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from edgekd.quantize.aten import arguments
from edgekd.quantize.fold import Norm, absorb, per_channel
from edgekd.quantize.torch_network import TorchNetwork, prepared

NORMS = "norms"
"""The submodule that holds the normalisations while they are unfolded."""
_DEAD = 1e-4
"""Of a layer's largest factor: channels with less would need enormous weights, and keep those they have."""


class BatchNorm(nn.modules.batchnorm._BatchNorm):
    """A normalisation over the second axis of a tensor of any rank."""

    def _check_input_dim(self, input: Tensor) -> None:  # noqa: A002 - the name is PyTorch's
        del input


def unfold(module: nn.Module) -> None:
    """Give a prepared network back the BatchNorms that were folded, in place; in eval mode it answers the same."""
    network, norms = TorchNetwork(module), nn.Module()
    network.module.add_submodule(NORMS, norms)
    for name, norm in prepared(module).norms.items():
        if name in network.nodes:
            norms.add_module(name, _unfolded(network, name, norm))
            _insert(network, name)
    network.module.recompile()


def refold(module: nn.Module) -> None:
    """Fold what `unfold` gave back, in place: weights, steps and biases as they were trained."""
    network = TorchNetwork(module)
    graph = network.module.graph
    for node in [node for node in graph.nodes if str(node.target).startswith(f"{NORMS}.")]:
        (layer,), trained = arguments(node), network.module.get_submodule(str(node.target))
        norm = _values(trained)
        network.weight_quantizer(layer.name).step.scale(norm.factor.abs())
        absorb(network.module, layer, network.path(layer), norm)
        node.replace_all_uses_with(layer)
        graph.erase_node(node)
    network.module.delete_submodule(NORMS)
    network.module.recompile()


def _unfolded(network: TorchNetwork, name: str, norm: Norm) -> BatchNorm:
    """Take a normalisation out of a layer's weight and bias."""
    weight, bias = network.parameters(network.nodes[name])
    dead = norm.factor.abs() <= _DEAD * norm.factor.abs().max()
    factor = norm.factor.where(~dead, 1.0)
    variance = norm.variance.where(~dead, 0.0)
    made = BatchNorm(len(factor), eps=norm.epsilon)
    with torch.no_grad():
        weight.copy_(weight.double() / per_channel(factor, weight))
        network.weight_quantizer(name).step.scale(1 / factor.abs())
        made.weight.copy_(factor * torch.sqrt(variance + norm.epsilon))
        made.bias.copy_(norm.beta)
        # By what calibration corrected the bias the mean of the rounded layer differs from the float one's.
        made.running_mean.copy_((norm.beta - bias.double()) / factor)  # type: ignore[union-attr]
        made.running_var.copy_(variance)  # type: ignore[union-attr]
    return made.train(network.module.training)


def _values(norm: Any) -> Norm:
    tensors = (norm.weight, norm.bias, norm.running_mean, norm.running_var)
    gamma, beta, mean, variance = (tensor.detach().double() for tensor in tensors)
    return Norm(gamma, beta, mean, variance, norm.eps)


def _insert(network: TorchNetwork, name: str) -> None:
    """Let the normalisation stand between a layer and whatever reads it; the layer loses its bias."""
    layer, graph = network.nodes[name], network.module.graph
    x, weight, bias, *rest = arguments(layer)
    layer.args = (x, weight, None, *rest)
    graph.erase_node(bias)
    path, _, bias_name = str(bias.target).rpartition(".")
    delattr(network.module.get_submodule(path), bias_name)
    with graph.inserting_after(layer):
        normed = graph.call_module(f"{NORMS}.{name}", (layer,))
    layer.replace_all_uses_with(normed, delete_user_cb=lambda user: user is not normed)
