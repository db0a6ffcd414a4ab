"""A prepared torch module as calibration sees it: its float tensors can be watched, its integers set and read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx, nn

from edgekd.errors import EdgekdError
from edgekd.placement.graph import OperatorGraph
from edgekd.placement.place import Placement
from edgekd.placement.scheme import Scheme
from edgekd.quantize.aten import arguments, aten
from edgekd.quantize.calibration import Integers, Stored, Weight
from edgekd.quantize.fake_quant import ActivationQuantizer, WeightQuantizer
from edgekd.quantize.fold import Norm, per_channel
from edgekd.quantize.layer import Array, Geometry, Layer, two_axes
from edgekd.quantize.network import Network

ACTIVATIONS = "quantized"
"""The submodule that holds the quantizers of tensors; those of weights stand beside their weight."""
BATCH = 32
_PREPARED = "edgekd"
_WITHIN = 0.49
"""Of a step: how far a weight may stay from the integer it was rounded to, so that training finds it where it was."""


@dataclass(frozen=True)
class Prepared:
    """What was decided about a network when its quantizers were inserted."""

    operators: OperatorGraph
    plan: Placement
    scheme: Scheme
    norms: Mapping[str, Norm]
    """What was folded, by layer; it comes back for training (`edgekd.quantize.unfold`)."""


def prepared(module: nn.Module) -> Prepared:
    """Return what was decided about a module; raises EdgekdError for one that was not prepared."""
    found = module.meta.get(_PREPARED) if isinstance(module, fx.GraphModule) else None
    if not isinstance(found, Prepared):
        raise EdgekdError(f"only what prepare returned can be calibrated and frozen, got {type(module).__name__}")
    return found


def remember(module: fx.GraphModule, what: Prepared) -> None:
    """Write what was decided into the module; copies keep it."""
    module.meta[_PREPARED] = what


class TorchNetwork(Network):
    """A view on what `edgekd.quantize.prepare.prepare` returned."""

    def __init__(self, module: nn.Module) -> None:
        decided = prepared(module)
        if not isinstance(module, fx.GraphModule):
            raise EdgekdError(f"expected a captured graph, got {type(module).__name__}")
        self.module, self.operators, self.plan, self.scheme = module, decided.operators, decided.plan, decided.scheme
        nodes = {node.name: node for node in module.graph.nodes}
        self.nodes: Mapping[str, fx.Node] = {name: nodes[name] for name in self.plan.weights}
        self.layers: Mapping[str, Layer] = {name: self._layer(node) for name, node in self.nodes.items()}

    def watch(self, samples: NDArray[Any], names: list[str]) -> Iterator[dict[str, Array]]:
        """Run the module in float and yield tensors batch by batch."""
        with floating(self.module), torch.inference_mode():
            for start in range(0, len(samples), BATCH):
                watching = _Watching(self.module, frozenset(names))
                watching.run(torch.from_numpy(np.ascontiguousarray(samples[start : start + BATCH])))
                yield watching.seen

    def set(self, integers: Integers) -> None:
        """Let the module compute with these integers; weights stay where they were as far as they round to them."""
        for name, stored in integers.tensors.items():
            self._tensor_quantizer(name).hold(stored.step, stored.zero_point)
        for name, found in integers.weights.items():
            weight, bias = self.parameters(self.nodes[name])
            quantizer = self.weight_quantizer(name)
            quantizer.step.set(torch.from_numpy(found.steps))
            steps = per_channel(quantizer.step.value(), weight)
            rounded = torch.from_numpy(found.integers).to(weight)
            with torch.no_grad():
                weight.copy_(weight.clamp((rounded - _WITHIN) * steps, (rounded + _WITHIN) * steps))
                if bias is not None and found.bias is not None:
                    bias.copy_(torch.from_numpy(found.bias))

    def integers(self) -> Integers:
        """Return the integers the module computes with now."""
        tensors = {}
        for tensor in self.plan.tensors:
            held = self._tensor_quantizer(tensor.operator)
            step, zero_point = float(held.step.value()), int(held.zero_point)
            tensors[tensor.operator] = Stored(step, zero_point, tensor.signedness)
        weights = {}
        for name, layer in self.layers.items():
            quantizer, (weight, _) = self.weight_quantizer(name), self.parameters(self.nodes[name])
            rounded = quantizer.integers(weight.detach()).to(torch.int8).numpy()
            weights[name] = Weight(rounded, quantizer.step.value().numpy(), layer.bias)
        return Integers(tensors, weights)

    def _tensor_quantizer(self, name: str) -> ActivationQuantizer:
        found = self.module.get_submodule(f"{ACTIVATIONS}.{name}")
        if not isinstance(found, ActivationQuantizer):
            raise EdgekdError(f"the tensor '{name}' has lost its quantizer")
        return found

    def weight_quantizer(self, name: str) -> WeightQuantizer:
        """Return the quantizer of a layer's weight."""
        found = self.module.get_submodule(str(arguments(self.nodes[name])[1].target))
        if not isinstance(found, WeightQuantizer):
            raise EdgekdError(f"the layer '{name}' has lost the quantizer of its weight")
        return found

    def parameters(self, layer: fx.Node) -> tuple[nn.Parameter, nn.Parameter | None]:
        """Return weight and bias of a layer."""
        bias = arguments(layer)[2] if len(layer.args) > 2 else None
        return (
            self.module.get_parameter(self.path(layer)),
            self.module.get_parameter(str(bias.target)) if isinstance(bias, fx.Node) else None,
        )

    @staticmethod
    def path(layer: fx.Node) -> str:
        """Return the path of a layer's weight."""
        (source,) = arguments(layer)[1].all_input_nodes
        return str(source.target)

    def _layer(self, node: fx.Node) -> Layer:
        weight, bias = self.parameters(node)
        return Layer(
            node.name,
            _source(arguments(node)[0]),
            weight.detach().numpy().copy(),
            None if bias is None else bias.detach().numpy().copy(),
            None if node.target == aten.linear.default else _geometry(node, weight),
            self.path(node).removesuffix(".weight"),
        )


class _Watching(fx.Interpreter):
    """Keeps the tensors of some names."""

    def __init__(self, module: fx.GraphModule, names: frozenset[str]) -> None:
        super().__init__(module)
        self._names = names
        self.seen: dict[str, Array] = {}

    def run_node(self, n: fx.Node) -> Any:
        """Run a node and keep what it makes; a quantizer that stands in an operator's place makes its tensor."""
        result = super().run_node(n)
        name = _source(n)
        if name in self._names and isinstance(result, Tensor):
            self.seen[name] = result.float().contiguous().numpy()
        return result


def _source(node: fx.Node) -> str:
    """Return the name of the operator whose tensor a node hands on."""
    target = str(node.target)
    is_quantizer = node.op == "call_module" and target.startswith(f"{ACTIVATIONS}.")
    return target.removeprefix(f"{ACTIVATIONS}.") if is_quantizer else node.name


def _geometry(convolution: fx.Node, weight: Tensor) -> Geometry:
    defaults: list[Any] = [None, [1], [0], [1], 1]
    given = arguments(convolution)[2:]
    _, stride, padding, dilation, groups = [*given, *defaults[len(given) :]]
    steps, spread = two_axes(stride, 1), two_axes(dilation, 1)
    kernel = two_axes(weight.shape[2:], 1)
    return Geometry(steps, _pads(padding, kernel, spread), spread, groups)


def _pads(padding: Any, kernel: tuple[int, int], dilation: tuple[int, int]) -> tuple[int, int, int, int]:
    if padding == "valid":
        return 0, 0, 0, 0
    if padding == "same":
        height, width = (spread * (size - 1) for size, spread in zip(kernel, dilation, strict=True))
        return height // 2, width // 2, height - height // 2, width - width // 2
    height, width = two_axes(padding, 0)
    return height, width, height, width


@contextmanager
def floating(module: nn.Module) -> Iterator[None]:
    """Let weights and tensors pass unquantized for a while."""
    quantizers = [part for part in module.modules() if isinstance(part, WeightQuantizer | ActivationQuantizer)]
    for quantizer in quantizers:
        quantizer.enabled = False
    try:
        yield
    finally:
        for quantizer in quantizers:
            quantizer.enabled = True
