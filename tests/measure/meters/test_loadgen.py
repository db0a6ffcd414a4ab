from __future__ import annotations

import pytest

from edgekd.errors import TargetError
from edgekd.measure.engine import Engine
from edgekd.measure.meter import Setup, create


def test_loadgen_agrees_with_the_other_latencies(engines: list[Engine], setup_: Setup) -> None:
    meter = create("loadgen", {"processes": 1, "least_queries": 100, "least_s": 0.1})
    light, heavy = (meter.measure([engine], setup_).figures[engine.key] for engine in engines[:2])
    assert light[0].name == "loadgen_latency_ms_p90"
    assert light[0].value < 0.8 * heavy[0].value


def test_a_missing_package_is_one_sentence_with_the_command(
    engines: list[Engine], setup_: Setup, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    hidden = tmp_path_factory.mktemp("hidden")
    (hidden / "mlperf_loadgen.py").write_text("raise ModuleNotFoundError('hidden', name='mlperf_loadgen')")
    monkeypatch.setenv("PYTHONPATH", str(hidden))
    with pytest.raises(TargetError, match="pip install mlcommons-loadgen"):
        create("loadgen").measure(engines[:1], setup_)
