from __future__ import annotations

import pytest

from edgekd.measure.engine import Engine
from edgekd.measure.meter import Setup, create
from edgekd.measure.meters import energy

_NONE = {"sources": [], "missing": {"rapl": "not permitted: only root", "nvml": "absent: no libnvidia-ml.so.1"}}
_COUNTED = {"sources": ["rapl"], "missing": {}, "runs": 9, "seconds": 2.0, "idle_w": 3.0}


def test_no_counter_is_no_figure_and_one_remark(
    engines: list[Engine], setup_: Setup, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def answer(meter: object, requests: dict, setup: Setup, *, processes: int) -> dict:
        asked.append(processes)
        return {key: [_NONE] * processes for key in requests}

    monkeypatch.setattr(energy, "repeat", answer)
    reading = create("energy").measure(engines, setup_)
    assert reading.figures == {engine.key: () for engine in engines}
    assert reading.remarks == (
        "energy was not measured: nvml absent: no libnvidia-ml.so.1; rapl not permitted: only root",
    )
    assert asked == [1]


def test_net_and_gross_are_figures_with_bounds(
    engines: list[Engine], setup_: Setup, monkeypatch: pytest.MonkeyPatch
) -> None:
    def answer(meter: object, requests: dict, setup: Setup, *, processes: int) -> dict:
        values = [{**_COUNTED, "net_mj": 10.0 + n, "gross_mj": 20.0 + n} for n in range(processes)]
        return dict.fromkeys(requests, values)

    monkeypatch.setattr(energy, "repeat", answer)
    reading = create("energy").measure(engines[:1], setup_)
    net, gross = reading.figures[engines[0].key]
    assert (net.name, net.value, net.lower, net.upper) == ("energy_mj", 13, 10, 16)
    assert (gross.name, gross.value) == ("energy_gross_mj", 23)
    assert reading.remarks == ("energy is that of the whole machine, counted by rapl",)
