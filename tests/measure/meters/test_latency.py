from __future__ import annotations

from edgekd.measure.engine import Engine
from edgekd.measure.meter import Setup, create


def test_the_light_engine_is_faster_and_more_processes_extend_the_series(engines: list[Engine], setup_: Setup) -> None:
    first = create("latency", {"processes": 1}).measure(engines[:2], setup_)
    assert [figure.name for figure in first.figures["light/fp32/onnxruntime"]] == ["latency_ms_p50", "latency_ms_p90"]
    light, heavy = (first.figures[engine.key][1].value for engine in engines[:2])
    assert light < 0.7 * heavy
    more = create("latency", {"processes": 2}).measure(engines[:2], setup_)
    assert more.figures["light/fp32/onnxruntime"][1].samples == 2
    assert (setup_.raw / "latency.jsonl").read_text().count('"kind": "process"') == 4
