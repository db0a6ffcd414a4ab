from __future__ import annotations

import json

import pytest

from edgekd.measure.engine import Engine
from edgekd.measure.layers import measure_layers
from edgekd.measure.meter import Setup


def test_the_table_stands_in_raw_lines_and_its_shares_are_of_the_sum(engines: list[Engine], setup_: Setup) -> None:
    table = measure_layers(engines[1], setup_, runs=20)
    assert table.engine == "heavy/fp32/onnxruntime"
    assert sum(layer.share for layer in table.layers) == pytest.approx(1)
    assert table.layers_ms == pytest.approx(sum(layer.ms for layer in table.layers))
    assert 0 < table.layers_ms < 1.1 * table.call_ms
    lines = [json.loads(line) for line in (setup_.raw / "layers-heavy-fp32-onnxruntime.jsonl").read_text().splitlines()]
    assert [line["kind"] for line in lines] == ["layers", *["layer"] * len(table.layers)]
    assert [line["ms"] for line in lines[1:]] == [layer.ms for layer in table.layers]
