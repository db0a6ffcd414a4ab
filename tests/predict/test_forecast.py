"""What a run says of a device that is not here."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from edgekd import target
from edgekd.errors import TargetError, UsageError
from edgekd.onnx_graph.quantized import quantized
from edgekd.predict.forecast import Forecast
from tests.onnx_graph.onnx_graphs import classic


@pytest.fixture(scope="module")
def forecast() -> Forecast:
    return Forecast(target.load("jetson-agx-orin"))


@pytest.fixture(scope="module")
def integers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("integers") / "s8.onnx"
    onnx.save(quantized(onnx.load(classic("resnet50")), symmetric=True), path)
    return path


def test_integers_are_faster_but_not_as_much_as_their_peak(forecast: Forecast, integers: Path) -> None:
    half = forecast.latency(forecast.work(classic("resnet50"), "fp16"), 90)
    small = forecast.latency(forecast.work(integers, "s8"), 90)
    assert half.origin == small.origin == "predicted"
    assert 1.1 < half.value / small.value < 2.0


def test_a_share_is_surer_than_a_latency(forecast: Forecast) -> None:
    large, small = (forecast.work(classic(name), "fp16") for name in ("resnet50", "squeezenet"))
    latency, share = forecast.latency(small, 90), forecast.share(small, large)
    for figure in (latency, share):
        assert figure.lower is not None
        assert figure.upper is not None
    assert share.upper / share.lower < latency.upper / latency.lower
    assert share.value == pytest.approx(latency.value / forecast.latency(large, 90).value)
    own = forecast.share(small, small)
    assert (own.value, own.lower, own.upper) == (pytest.approx(1.0),) * 3


def test_a_larger_board_is_faster(forecast: Forecast) -> None:
    asked = forecast.work(classic("resnet50"), "fp16")
    nano = Forecast(target.load("jetson-orin-nano")).latency(asked, 90)
    assert nano.value > 1.5 * forecast.latency(asked, 90).value


def test_a_target_without_facts_is_refused() -> None:
    with pytest.raises(TargetError, match="nor what its datasheet says"):
        Forecast(target.load("nvidia-gpu"))


def test_a_scheme_the_target_does_not_run_is_refused() -> None:
    with pytest.raises(UsageError, match="jetson-nano runs nothing in 's8'; it runs fp16"):
        Forecast(target.load("jetson-nano")).work(classic("resnet50"), "s8")


def test_a_float_file_is_predicted_as_if_it_were_quantized(forecast: Forecast, integers: Path) -> None:
    assert forecast.work(classic("resnet50"), "s8") == pytest.approx(forecast.work(integers, "s8"))
