"""The time each operator of an engine takes, as its runtime counts it, in a process of its own."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from edgekd.measure.engine import Engine
from edgekd.measure.meter import Setup
from edgekd.schema import write_text

RUNS = 50


@dataclass(frozen=True)
class Layer:
    """One operator after all of the runtime's own rewriting."""

    name: str
    op: str
    executed_as: str
    """The runtime's words for the code it chose: provider and type, or the kernel."""
    ms: float
    """The median over runs."""
    share: float
    """Of the sum of all operators."""


@dataclass(frozen=True)
class LayerTable:
    """All operators of one engine, in the order of execution."""

    engine: str
    layers: tuple[Layer, ...]
    call_ms: float
    """The whole call while the runtime counts: more than a latency, because counting costs time."""
    runs: int

    @property
    def layers_ms(self) -> float:
        """Return the sum over operators; the rest of `call_ms` is the call itself, copies and the counting."""
        return sum(layer.ms for layer in self.layers)


def measure_layers(engine: Engine, setup: Setup, runs: int = RUNS) -> LayerTable:
    """Return the table of one engine at the operating point; its rows stand in `<raw>/layers-<engine>.jsonl`, too.

    Holds the measurement lock. Raises MeasurementError when the process dies, hangs or refuses, TargetError when the
    runtime is missing.
    """
    request = {"verb": "layers", "runs": runs, **setup.called(engine)}
    with setup.connection.locked(), setup.connection.start(engine.key) as child:
        answer = child.ask(request, setup.hang_s)
    table = LayerTable(
        engine.key, tuple(Layer(**row) for row in answer["rows"]), call_ms=answer["call_ms"], runs=answer["runs"]
    )
    _write(table, setup.raw / f"layers-{engine.key.replace('/', '-')}.jsonl")
    return table


def _write(table: LayerTable, path: Path) -> None:
    """Write a line for the call and one for each operator."""
    call = {"kind": "layers", "engine": table.engine, "call_ms": table.call_ms, "runs": table.runs}
    rows = [{"kind": "layer", "engine": table.engine, **asdict(layer)} for layer in table.layers]
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text("".join(json.dumps(line, allow_nan=False) + "\n" for line in (call, *rows)), path)
