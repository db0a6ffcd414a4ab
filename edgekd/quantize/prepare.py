"""From a float network to one with fake quantizers in the places where the engine will hold integers."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
from torch import Tensor, fx, nn

from edgekd.errors import UsageError
from edgekd.placement.place import QuantizedTensor, place
from edgekd.placement.scheme import Scheme
from edgekd.quantize.aten import arguments, capture, operators
from edgekd.quantize.calibration import CalibrationConfig, calibrated
from edgekd.quantize.fake_quant import ActivationQuantizer, WeightQuantizer
from edgekd.quantize.fold import fold_batch_norm
from edgekd.quantize.tapping import tap
from edgekd.quantize.torch_network import ACTIVATIONS, Prepared, TorchNetwork, remember


def prepare(
    model: nn.Module,
    example: Tensor,
    scheme: Scheme,
    taps: Collection[str] = (),
) -> fx.GraphModule:
    """Return a copy of `model` with BatchNorm folded and fake quantizers inserted; it trains like any module.

    `example` is a batch of inputs (N, C, H, W). Steps of weights are set; those of activations need `calibrate`.
    `taps` are paths of modules of `model` whose results a loss wants to see, see `edgekd.quantize.tapping`.
    Raises ExportError when torch.export cannot capture the network, UsageError when layers share a weight.
    """
    network, norms = fold_batch_norm(capture(model, example))
    graph = operators(network)
    plan = place(graph, scheme)
    tap(network, taps)
    nodes = {node.name: node for node in network.graph.nodes}
    _refuse_shared([str(arguments(nodes[name])[1].target) for name in plan.weights])
    network.add_submodule(ACTIVATIONS, nn.Module())
    for name in plan.weights:
        _quantize_weight(network, nodes[name], scheme)
    for tensor in plan.tensors:
        _quantize_tensor(network, nodes[tensor.operator], tensor)
    network.graph.lint()
    network.recompile()
    remember(network, Prepared(graph, plan, scheme, norms))
    return network.eval()


def _refuse_shared(weights: list[str]) -> None:
    again = next((path for path in weights if weights.count(path) > 1), None)
    if again is not None:
        raise UsageError(
            f"'{again}' is the weight of {weights.count(again)} layers, and each would round it for itself; write the "
            "float network as ONNX and give it to `edgekd quantize`, where every layer gets integers of its own",
            again,
        )


def _quantize_weight(network: fx.GraphModule, layer: fx.Node, scheme: Scheme) -> None:
    source = arguments(layer)[1]
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


def calibrate(module: nn.Module, images: np.ndarray, config: CalibrationConfig | None = None) -> None:
    """Set steps, rounding and biases from `images`, float32 (N, C, H, W), run in float through the network.

    Raises UsageError for an unknown observer, and when there is nothing to calibrate or to calibrate with, EdgekdError
    for a module that `prepare` did not return.
    """
    network = TorchNetwork(module)
    network.set(calibrated(network, images, network.plan, network.scheme, config or CalibrationConfig()))
