from __future__ import annotations

from edgekd.measure.engine import Engine
from edgekd.measure.meter import Setup, create


def test_the_first_result_comes_after_loading(engines: list[Engine], setup_: Setup) -> None:
    reading = create("cold-start", {"processes": 7}).measure([engines[2]], setup_)
    load, first = reading.figures[engines[2].key]
    assert (load.name, first.name) == ("load_ms", "first_result_ms")
    assert 0 < load.value < first.value
    assert first.lower <= first.value <= first.upper  # seven processes give bounds
    assert first.samples == 7
