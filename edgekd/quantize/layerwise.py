"""Layer by layer comparison of a fake-quantized network with the engine built from it, on the engine's own integers.

Comparing whole networks cannot tell a wrong layer from rounding that has added up. Here every layer reads what the
engine's layer read, so any correct layer is at most one step away.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from torch import Tensor, fx, nn

from edgekd.disk import scratch
from edgekd.errors import ExportError
from edgekd.quantize.fake_quant import ActivationQuantizer
from edgekd.runtime.session import open_session


@dataclass(frozen=True)
class Layerwise:
    """What one comparison found."""

    steps: dict[str, int]
    """Largest difference in integer steps, by quantizer."""
    logits: np.ndarray
    """What the fake-quantized network answers given the engine's last integers, (N, classes)."""
    engine_logits: np.ndarray


def expose(path: Path, exposed: Path) -> list[str]:
    """Write a copy of a quantized ONNX file that also puts out every integer tensor; return their quantizers' paths."""
    model = onnx.load(path)
    quantizers = []
    for node in model.graph.node:
        if node.op_type == "QuantizeLinear":
            quantizers.append(node.name.rpartition("/")[0])
            output = onnx.ValueInfoProto()
            output.name = node.output[0]
            model.graph.output.append(_described(model, node, output))
    onnx.save(model, exposed)
    return quantizers


def _described(model: onnx.ModelProto, node: onnx.NodeProto, output: onnx.ValueInfoProto) -> onnx.ValueInfoProto:
    zero_point = next(value for value in model.graph.initializer if value.name == node.input[2])
    known = next((value for value in model.graph.value_info if value.name == node.output[0]), None)
    if known is None:
        raise ExportError(f"the ONNX file does not say which shape the tensor '{node.output[0]}' has")
    output.CopyFrom(known)
    output.type.tensor_type.elem_type = zero_point.data_type
    model.graph.value_info.remove(known)
    return output


def compare_layers(
    module: nn.Module,
    path: Path,
    runtime: str,
    images: np.ndarray,
    run: Callable[[Path, np.ndarray], list[np.ndarray]] | None = None,
) -> Layerwise:
    """Compare `module` (as prepared, calibrated, perhaps trained) with the engine `runtime` makes of the ONNX file.

    `images` is float32 (N, C, H, W). `run`, if given, returns all outputs of a file in place of the runtime.
    """
    with scratch("edgekd-engine") as folder:
        exposed = folder / "exposed.onnx"
        quantizers = expose(path, exposed)
        if run is None:
            session = open_session(runtime, str(exposed), threads=1, batch=len(images))
            engine_logits, *integers = [result.copy() for result in session.run([images])]
        else:
            engine_logits, *integers = run(exposed, images)
    forced = Forced(module, dict(zip(quantizers, integers, strict=True)))
    with torch.no_grad():
        logits = forced.run(torch.from_numpy(images))
    return Layerwise(forced.steps, logits.numpy(), engine_logits)


class Forced(fx.Interpreter):
    """Runs a fake-quantized network, replacing each integer tensor by the given one after comparing them."""

    def __init__(self, module: nn.Module, integers: dict[str, np.ndarray]) -> None:
        super().__init__(module.eval())
        self.integers = integers
        self.steps: dict[str, int] = {}
        """Largest difference, by quantizer."""
        self.shares: dict[str, float] = {}
        """Share of values that differ, by quantizer."""

    def call_module(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Compare and replace where `target` quantizes an activation."""
        quantizer = self.fetch_attr(target)
        if not isinstance(quantizer, ActivationQuantizer):
            return super().call_module(target, args, kwargs)
        given = torch.from_numpy(self.integers[target].astype(np.float32))
        own: Tensor = quantizer.integers(args[0])
        difference = (own - given).abs()
        self.steps[target], self.shares[target] = int(difference.max()), float((difference > 0).float().mean())
        return quantizer.dequantized(given)
