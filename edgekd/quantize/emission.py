"""The exportable form of a quantized network: ONNX QuantizeLinear and DequantizeLinear, weights already integers.

Engines recognise this form and no other: float weights behind a QuantizeLinear stay float in OpenVINO.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn

from edgekd.errors import EdgekdError
from edgekd.onnx_graph.integer_form import LARGEST_BIAS
from edgekd.quantize.aten import arguments, aten, maker
from edgekd.quantize.fake_quant import ActivationQuantizer, WeightQuantizer
from edgekd.quantize.fold import per_channel
from edgekd.quantize.tapping import Tap

OPSET = 20
POOL = "global_average_pool"


def freeze(module: nn.Module) -> fx.GraphModule:
    """Return a copy of a prepared and calibrated network for `export.onnx_file.write`; eagerly it computes the same.

    Its weights are int8 buffers and can no longer be trained.
    """
    if not isinstance(module, fx.GraphModule):
        raise EdgekdError(f"freeze takes what prepare returned, got {type(module).__name__}")
    network = copy.deepcopy(module).eval()
    for node in list(network.graph.nodes):
        if node.op == "call_module" and isinstance(network.get_submodule(str(node.target)), Tap):
            network.graph.erase_node(node)
        elif node.op == "call_module":
            _freeze_quantizer(network, node)
        elif node.target == aten.adaptive_avg_pool2d.default and list(arguments(node)[1]) == [1, 1]:
            _freeze_pool(network, node)
    for node in list(network.graph.nodes):
        if node.target == aten.linear.default:
            _freeze_bias(network, node)
    network.graph.eliminate_dead_code()
    return fx.GraphModule(network, network.graph).eval()


def _freeze_quantizer(network: fx.GraphModule, node: fx.Node) -> None:
    path = str(node.target)
    quantizer = network.get_submodule(path)
    if isinstance(quantizer, ActivationQuantizer):
        network.set_submodule(path, QuantizeDequantize(quantizer))
    elif isinstance(quantizer, WeightQuantizer):
        (source,) = node.all_input_nodes
        network.set_submodule(path, IntegerWeight(quantizer, network.get_parameter(str(source.target))))
        node.args = ()
    elif isinstance(quantizer, IntegerWeight):  # of a weight that two layers share
        node.args = ()


def _freeze_pool(network: fx.GraphModule, node: fx.Node) -> None:
    """Write pooling over all positions as ONNX's own operator: engines have no integer kernel for a mean."""
    network.add_submodule(POOL, GlobalAveragePool())
    with network.graph.inserting_before(node):
        pooled = network.graph.call_module(POOL, (node.args[0],))
    node.replace_all_uses_with(pooled)
    network.graph.erase_node(node)


def _freeze_bias(network: fx.GraphModule, layer: fx.Node) -> None:
    """Store the bias of a linear layer with a float output as int32: ONNX Runtime runs it in float otherwise.

    All other biases stay float; engines round them to the same steps when they load the file. So do those behind
    symmetric activations: TensorRT, which wants these, takes no int32 bias.
    """
    x, weight, *bias = arguments(layer)
    source, integers = maker(network, x), maker(network, weight)
    outputs = [maker(network, user) for user in layer.users]
    if not bias or not isinstance(bias[0], fx.Node) or all(isinstance(o, QuantizeDequantize) for o in outputs):
        return
    if not isinstance(source, QuantizeDequantize) or not isinstance(integers, IntegerWeight):
        return
    if source.dtype == torch.int8:
        return
    values, scale = network.get_parameter(str(bias[0].target)).detach(), source.scale * integers.scale
    if float((values / scale).abs().max()) >= LARGEST_BIAS:
        return  # no step of the product is coarse enough: rather a float layer than a wrong one
    path = f"{bias[0].target}_quantizer"
    network.add_submodule(path, IntegerBias(values, scale))
    with network.graph.inserting_before(layer):
        layer.args = (x, weight, network.graph.call_module(path))


class QuantizeDequantize(nn.Module):
    """A tensor's way through integers: QuantizeLinear, then DequantizeLinear."""

    def __init__(self, quantizer: ActivationQuantizer) -> None:
        super().__init__()
        self.lowest, self.highest = quantizer.lowest, quantizer.highest
        self.dtype = torch.uint8 if self.lowest == 0 else torch.int8
        self.scale: Tensor
        self.zero_point: Tensor
        self.register_buffer("scale", quantizer.step.value().reshape(()).clone())
        self.register_buffer("zero_point", quantizer.zero_point.reshape(()).to(self.dtype))

    def forward(self, x: Tensor) -> Tensor:
        """Return `x` rounded to what the integers stand for."""
        if not torch.compiler.is_exporting():
            integers = (x / self.scale).round().add(self.zero_point).clamp(self.lowest, self.highest)
            return (integers - self.zero_point) * self.scale
        constants = (self.scale, self.zero_point)
        integers = _operator("QuantizeLinear", (x, *constants), {}, self.dtype, x.shape)
        return _operator("DequantizeLinear", (integers, *constants), {}, torch.float32, x.shape)


class IntegerWeight(nn.Module):
    """A weight stored as int8 with one scale an output channel."""

    def __init__(self, quantizer: WeightQuantizer, weight: Tensor) -> None:
        super().__init__()
        self.integers: Tensor
        self.scale: Tensor
        self.zero_point: Tensor
        self.register_buffer("integers", quantizer.integers(weight.detach()).to(torch.int8).contiguous())
        self.register_buffer("scale", quantizer.step.value().clone())
        self.register_buffer("zero_point", torch.zeros(len(weight), dtype=torch.int8))

    def forward(self) -> Tensor:
        """Return the weight as floats."""
        if not torch.compiler.is_exporting():
            return self.integers * per_channel(self.scale, self.integers)
        inputs = (self.integers, self.scale, self.zero_point)
        return _operator("DequantizeLinear", inputs, {"axis": 0}, torch.float32, self.integers.shape)


class IntegerBias(nn.Module):
    """A bias stored as int32 in steps of the products it is added to."""

    def __init__(self, bias: Tensor, scale: Tensor) -> None:
        super().__init__()
        self.integers: Tensor
        self.scale: Tensor
        self.zero_point: Tensor
        self.register_buffer("integers", (bias / scale).round().to(torch.int32))
        self.register_buffer("scale", scale.clone())
        self.register_buffer("zero_point", torch.zeros(len(bias), dtype=torch.int32))

    def forward(self) -> Tensor:
        """Return the bias as floats."""
        if not torch.compiler.is_exporting():
            return self.integers * self.scale
        inputs = (self.integers, self.scale, self.zero_point)
        return _operator("DequantizeLinear", inputs, {"axis": 0}, torch.float32, self.integers.shape)


class GlobalAveragePool(nn.Module):
    """The mean over the positions of (N, C, H, W), as (N, C, 1, 1)."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the means."""
        if not torch.compiler.is_exporting():
            return x.mean((2, 3), keepdim=True)
        return _operator("GlobalAveragePool", (x,), {}, torch.float32, (*x.shape[:2], 1, 1))


def _operator(
    name: str, inputs: tuple[Tensor, ...], attributes: dict[str, Any], dtype: torch.dtype, shape: Sequence[int]
) -> Tensor:
    return torch.onnx.ops.symbolic(name, inputs, attributes, dtype=dtype, shape=shape, version=OPSET)
