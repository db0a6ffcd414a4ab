from __future__ import annotations

import json
from statistics import median

import pytest

from edgekd.measure.engine import Engine
from edgekd.measure.meter import Setup, create


def test_openvinos_plain_call_costs_more_than_the_bound_one(engines: list[Engine], setup_: Setup) -> None:
    reading = create("plain-call", {"processes": 1, "blocks": 4}).measure([engines[2]], setup_)
    (figure,) = reading.figures[engines[2].key]
    assert figure.name == "plain_call_extra_ms"
    assert figure.value > 0
    line = json.loads((setup_.raw / "plain-call.jsonl").read_text())
    assert len(line["plain_ms"]) == len(line["bound_ms"]) == 32
    assert figure.value == pytest.approx(median(line["plain_ms"]) - median(line["bound_ms"]))
