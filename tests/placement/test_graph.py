from __future__ import annotations

from edgekd.placement.graph import Operator, OperatorGraph


def test_it_knows_inputs_and_users_of_every_operator() -> None:
    x, first = Operator("x", "input"), Operator("first", "conv", ("x",))
    double = Operator("double", "add", ("first", "first"))
    graph = OperatorGraph([x, first, double])
    assert list(graph) == [x, first, double]
    assert graph.inputs(double) == [first, first]
    assert graph.users(first) == [double]
    assert graph.users(double) == []
    assert graph["first"] is first
