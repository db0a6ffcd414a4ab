"""On a machine that computes channels in steps of 16."""

from __future__ import annotations

import pytest

from edgekd.fuse.fusion import FUSIONS
from edgekd.kernel import FusedKernel
from edgekd.onnx_graph.graph import Graph, read
from edgekd.predict.latency import LatencyModel
from edgekd.predict.widths import Widths, widths
from tests.onnx_graph.onnx_graphs import model
from tests.predict import synthetic_machine as machine


def network(width: int) -> Graph:
    """Two convolutions, the second with a sum around it, and one more."""
    text = """
    net (float[1,16,28,28] x) => (float[1,32,28,28] y)
    {
        [c0] a = Conv<pads=[1,1,1,1]>(x, w0)
        [r0] b = Relu(a)
        [c1] c = Conv<pads=[1,1,1,1]>(b, w1)
        [s] d = Add(c, b)
        [r1] e = Relu(d)
        [c2] y = Conv(e, w2)
    }
    """
    return read(model(text, w0=(width, 16, 3, 3), w1=(width, width, 3, 3), w2=(32, width, 1, 1)))


def of(graph: Graph, code: str) -> tuple[list[FusedKernel], Widths | None]:
    kernels = FUSIONS.get("onnxruntime")().kernels(graph)
    place = next(n for n, kernel in enumerate(kernels) if code in kernel.covers)
    return kernels, widths(graph, kernels, LatencyModel(machine.profile(), "onnxruntime"), place)


def test_a_width_within_a_step_may_grow_to_its_end_and_saves_at_the_next_one() -> None:
    _, found = of(network(52), "c0")
    assert found is not None
    assert found.width == 52
    assert 60 <= found.free <= 66
    assert found.next_saving is not None
    assert 44 <= found.next_saving <= 49
    assert found.saving_ms > 0


def test_layers_summed_with_each_other_change_together() -> None:
    kernels, found = of(network(64), "c0")
    assert found is not None
    second = next(kernel for kernel in kernels if "c1" in kernel.covers)
    assert found.tied == (second.name,)


def test_the_width_of_a_result_is_not_free() -> None:
    _, found = of(network(64), "c2")
    assert found is None


@pytest.mark.parametrize("code", ["c0", "c1"])
def test_either_of_two_tied_layers_says_the_same(code: str) -> None:
    _, found = of(network(52), code)
    assert found is not None
    assert found.width == 52
    assert len(found.tied) == 1
