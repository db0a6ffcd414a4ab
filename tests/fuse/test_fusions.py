"""The contract of fusion rules, held against every runtime that has some."""

from __future__ import annotations

import pytest

from edgekd.fuse.fusion import FUSIONS
from edgekd.kernel import BYTES
from edgekd.kernels.drawn import drawn
from edgekd.onnx_graph.graph import Graph, read
from tests.onnx_graph.onnx_graphs import classic

NUMBERS = range(40, 52)


@pytest.fixture(scope="module")
def graphs() -> list[Graph]:
    models = [drawn(number, ["fp32", "u8w8"], {}).models for number in NUMBERS]
    return [read(model) for each in models for model in each.values()]


@pytest.mark.parametrize("name", FUSIONS.names())
def test_every_operator_is_in_a_kernel_or_a_view(name: str, graphs: list[Graph]) -> None:
    rules = FUSIONS.get(name)()
    for graph in graphs:
        found = rules.kernels(graph)
        heavy = {node.name for node in graph.nodes if node.op in {"Conv", "Gemm", "MatMul", "ConvTranspose"}}
        assert heavy <= {node for kernel in found for node in kernel.covers}
        assert all(set(kernel.types) <= set(BYTES) for kernel in found)
        assert all(kernel.macs >= 0 and kernel.bytes_written > 0 for kernel in found)
        assert rules.kernels(graph) == found


@pytest.mark.parametrize("name", FUSIONS.names())
def test_nothing_is_multiplied_more_or_less(name: str) -> None:
    found = FUSIONS.get(name)().kernels(read(classic("squeezenet")))
    assert sum(kernel.macs for kernel in found) == pytest.approx(349e6, rel=0.02)  # as published: 0.35 G


@pytest.mark.parametrize("name", FUSIONS.names())
def test_without_rows_no_kernel_has_a_time(name: str, graphs: list[Graph]) -> None:
    rules = FUSIONS.get(name)()
    kernels = rules.kernels(graphs[0])
    assert rules.matched(kernels, []) == [None] * len(kernels)
