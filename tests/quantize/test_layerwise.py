from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch

from edgekd.export.divergence import evaluate
from edgekd.quantize.layerwise import Forced, compare_layers, expose
from edgekd.runtime.session import RUNTIMES
from tests.quantize.conftest import Variant


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_every_layer_of_every_engine_is_at_most_one_step_away(exact: Variant, runtime: str) -> None:
    found = compare_layers(exact.module, exact.path, runtime, exact.images[:16])
    quantizers = sum(node.op_type == "QuantizeLinear" for node in onnx.load(exact.path).graph.node)
    assert len(found.steps) == quantizers >= 2
    assert max(found.steps.values()) <= 1
    # The last layer has no integers of its own: fed the engine's, its logits agree but for rounding of floats.
    assert np.abs(found.logits - found.engine_logits).max() < 1e-4 * np.abs(found.engine_logits).max()


def test_the_unoptimised_file_holds_the_very_integers_of_the_fake_quantized_network(variant: Variant) -> None:
    model = onnx.load(variant.path)
    nodes = [node for node in model.graph.node if node.op_type == "QuantizeLinear"]
    integers = evaluate(model, [node.output[0] for node in nodes], variant.images)
    paths = [node.name.rpartition("/")[0] for node in nodes]
    forced = Forced(variant.module, dict(zip(paths, integers, strict=True)))
    with torch.no_grad():
        forced.run(torch.from_numpy(variant.images))
    assert max(forced.steps.values()) <= 1
    assert max(forced.shares.values()) < 1e-3  # a float in its last digit, right between two steps


def test_a_wrong_layer_is_found(variant: Variant) -> None:
    exposed = variant.path.with_name("exposed.onnx")
    paths = expose(variant.path, exposed)
    model = onnx.load(exposed)
    names = [output.name for output in model.graph.output][1:]
    integers = dict(zip(paths, evaluate(model, names, variant.images[:4]), strict=True))
    last = paths[-1]
    integers[last] = np.clip(integers[last].astype(int) + 3, 0, 255).astype(np.uint8)
    forced = Forced(variant.module, integers)
    with torch.no_grad():
        forced.run(torch.from_numpy(variant.images[:4]))
    assert forced.steps[last] >= 2
