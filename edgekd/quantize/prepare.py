"""From a float network to one with fake quantizers in the places where the engine will hold integers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn

from edgekd.errors import UsageError
from edgekd.placement.place import QuantizedTensor, place
from edgekd.placement.scheme import Scheme
from edgekd.quantize.aten import capture, operators
from edgekd.quantize.fake_quant import ActivationQuantizer, WeightQuantizer
from edgekd.quantize.fold import fold_batch_norm
from edgekd.quantize.observer import create

ACTIVATIONS = "quantized"
"""The submodule that holds the quantizers of tensors; those of weights stand beside their weight."""


def prepare(model: nn.Module, example: Tensor, scheme: Scheme) -> fx.GraphModule:
    """Return a copy of `model` with BatchNorm folded and fake quantizers inserted; it trains like any module.

    `example` is a batch of inputs (N, C, H, W). Steps of weights are set; those of activations need `calibrate`.
    Raises ExportError when torch.export cannot capture the network.
    """
    network = fold_batch_norm(capture(model, example))
    plan = place(operators(network), scheme)
    nodes = {node.name: node for node in network.graph.nodes}
    network.add_submodule(ACTIVATIONS, nn.Module())
    for name in plan.weights:
        _quantize_weight(network, nodes[name], scheme)
    for tensor in plan.tensors:
        _quantize_tensor(network, nodes[tensor.operator], tensor)
    network.graph.lint()
    network.recompile()
    return network.eval()


def _quantize_weight(network: fx.GraphModule, layer: fx.Node, scheme: Scheme) -> None:
    source = layer.args[1]
    if not isinstance(source, fx.Node) or source.op != "get_attr":
        return
    path = str(source.target)
    weight = network.get_parameter(path)
    quantizer = WeightQuantizer(len(weight), scheme.weight_limit)
    quantizer.reset(weight)
    network.add_submodule(f"{path}_quantizer", quantizer)
    with network.graph.inserting_before(layer):
        quantized = network.graph.call_module(f"{path}_quantizer", (source,))
    layer.args = (layer.args[0], quantized, *layer.args[2:])


def _quantize_tensor(network: fx.GraphModule, node: fx.Node, tensor: QuantizedTensor) -> None:
    path = f"{ACTIVATIONS}.{tensor.operator}"
    network.add_submodule(path, ActivationQuantizer(tensor.signedness, absorbs=tensor.absorbs, limit=tensor.limit))
    with network.graph.inserting_after(node):
        quantized = network.graph.call_module(path, (node,))
    node.replace_all_uses_with(quantized, delete_user_cb=lambda user: user is not quantized)
    if tensor.absorbs:
        quantized.args = (node.args[0],)
        network.graph.erase_node(node)


def calibrate(
    module: nn.Module, images: np.ndarray, observer: str = "mse", options: dict[str, Any] | None = None, batch: int = 64
) -> None:
    """Set the step of every activation from `images`, float32 (N, C, H, W), run in float through the network.

    Raises UsageError for an unknown observer, and when there is nothing to calibrate or to calibrate with.
    """
    quantizers = [part for part in module.modules() if isinstance(part, ActivationQuantizer)]
    if not quantizers or not len(images):
        raise UsageError(f"cannot calibrate {len(quantizers)} activation quantizers with {len(images)} images")
    for quantizer in quantizers:
        quantizer.observer = create(observer, options)
    try:
        with floating_weights(module), torch.inference_mode():
            for start in range(0, len(images), batch):
                module(torch.from_numpy(np.ascontiguousarray(images[start : start + batch])))
        for quantizer in quantizers:
            if quantizer.observer is not None:
                quantizer.set_range(*quantizer.observer.range(255, symmetric=quantizer.signedness == "symmetric"))
    finally:
        for quantizer in quantizers:
            quantizer.observer = None


@contextmanager
def floating_weights(module: nn.Module) -> Iterator[None]:
    """Let weights pass unquantized for a while."""
    quantizers = [part for part in module.modules() if isinstance(part, WeightQuantizer)]
    for quantizer in quantizers:
        quantizer.enabled = False
    try:
        yield
    finally:
        for quantizer in quantizers:
            quantizer.enabled = True
