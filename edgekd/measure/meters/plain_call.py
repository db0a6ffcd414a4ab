"""What the call most apps write costs more than the one with bound buffers, which all other figures are taken with."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import Any, ClassVar

from edgekd.measure import meter
from edgekd.measure.engine import Engine
from edgekd.measure.meter import Reading, Setup
from edgekd.measure.repetition import Answer, bounded, repeat
from edgekd.measure.turns import BLOCK_RUNS, SKIPPED_RUNS, WARM_LEAST_S, WARM_MOST_S, turns
from edgekd.schema import Field, Schema

CALLS = ("bound", "plain")


class PlainCall(meter.Meter):
    """`plain_call_extra_ms`: median of the plain calls minus that of the bound ones, in the same process and in turns.

    Plain is `session.run(None, feed)` of ONNX Runtime and `compiled_model(inputs)` of OpenVINO. The figure is the
    median over processes.
    """

    class Config(Schema):
        """How many processes."""

        processes: int = Field(default=3, ge=1, le=1000, description="fresh processes per engine; 7 give bounds")
        blocks: int = Field(default=8, ge=2, le=10_000, description="blocks of each call in each process")

    name: ClassVar[str] = "plain-call"
    produces: ClassVar[tuple[str, ...]] = ("plain_call_extra_ms",)

    def measure(self, engines: Sequence[Engine], setup: Setup) -> Reading:
        """Call every engine both ways in fresh processes, one at a time."""

        def ask(key: str, called: dict[str, Any]) -> Answer:
            return self._asked(key, called, setup)

        requests = {engine.key: setup.called(engine) for engine in engines}
        found = repeat(self, requests, setup, processes=self.config.processes, ask=ask)
        extra = {key: [answer["extra_ms"] for answer in answers] for key, answers in found.items()}
        return Reading({key: (bounded(self.produces[0], values, setup),) for key, values in extra.items()})

    def _asked(self, key: str, called: dict[str, Any], setup: Setup) -> Answer:
        block = {"verb": "time", "step": "block", "skip": SKIPPED_RUNS, "runs": BLOCK_RUNS}
        taken: dict[str, list[float]] = {call: [] for call in CALLS}
        with setup.connection.start(key) as child:
            child.ask({"verb": "time", "step": "open", **called}, setup.hang_s)
            warm = {"verb": "time", "step": "warm", "least_s": WARM_LEAST_S, "most_s": WARM_MOST_S}
            child.ask(warm, setup.hang_s + WARM_MOST_S)
            for turn in turns(len(CALLS), self.config.blocks, 0):
                taken[CALLS[turn]] += child.ask({**block, "call": CALLS[turn]}, setup.hang_s)["ms"]
        extra_ms = median(taken["plain"]) - median(taken["bound"])
        return {"extra_ms": extra_ms, **{f"{call}_ms": times for call, times in taken.items()}}
