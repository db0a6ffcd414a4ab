from __future__ import annotations

import numpy as np
import pytest

from edgekd.budget import OperatingPoint
from edgekd.errors import MeasurementError
from edgekd.figure import Figure
from edgekd.measure.comparison import bootstrap_ratio, fastest_teacher, paired_ratio, ratio_in_turns
from edgekd.measure.series import Series, figure
from edgekd.profile import EngineRecord


def _record(network: str, scheme: str, runtime: str, values: list[float]) -> EngineRecord:
    name = "latency_ms_p90"
    return EngineRecord(
        network=network,
        scheme=scheme,
        runtime=runtime,
        digest="d",
        operating_point=OperatingPoint(),
        per_process={name: tuple(values), "look": (1.0,) * len(values)},
        figures=(figure(name, values, (), "device"),),
    )


def test_the_baseline_is_the_teachers_fastest_float_engine() -> None:
    slow, fast = _record("teacher", "fp32", "a", [2.0] * 11), _record("teacher", "fp32", "b", [1.0] * 11)
    others = [_record("teacher", "u8w8", "a", [0.5] * 11), _record("pruned", "fp32", "a", [0.1] * 11)]
    assert fastest_teacher([slow, *others, fast], 90) is fast
    assert fastest_teacher(others, 90) is None
    assert fastest_teacher([slow], 99) is None


def test_the_ratio_is_taken_round_by_round() -> None:
    teacher = [1.0 + 0.1 * k for k in range(11)]
    found = paired_ratio(
        _record("s", "fp32", "a", [t / 4 for t in teacher]), _record("t", "fp32", "a", teacher), 90, "r"
    )
    assert (found.name, found.value, found.samples) == ("r", pytest.approx(0.25), 11)
    assert found.lower == pytest.approx(0.25)
    assert found.upper == pytest.approx(0.25)


def test_series_of_different_length_are_no_pair() -> None:
    with pytest.raises(MeasurementError, match="not measured together"):
        paired_ratio(_record("s", "fp32", "a", [1.0] * 11), _record("t", "fp32", "a", [1.0] * 22), 90, "r")


def _scattered(seed: int, processes: int, centre: float) -> list[float]:
    return list(centre * np.exp(0.02 * np.random.default_rng(seed).standard_normal(processes)))


def _bootstrap(values: list[float], references: list[float]) -> Figure:
    return bootstrap_ratio(_record("s", "fp32", "a", values), _record("t", "fp32", "a", references), 90, "r")


def test_the_bootstrap_agrees_with_the_bounds_over_rounds_and_repeats_itself() -> None:
    values, references = _scattered(1, 44, 2.0), _scattered(2, 44, 1.0)
    found = _bootstrap(values, references)
    paired = paired_ratio(_record("s", "fp32", "a", values), _record("t", "fp32", "a", references), 90, "r")
    assert found == _bootstrap(values, references)
    assert found.value == pytest.approx(np.median(values) / np.median(references))
    assert found.lower < 2 < found.upper
    assert found.upper - found.lower == pytest.approx(paired.upper - paired.lower, rel=0.5)
    assert (found.confidence, found.samples) == (0.99, 44)


def test_the_bootstrap_draws_pairs_so_that_drift_cancels() -> None:
    drift = np.linspace(1, 2, 33)
    found = _bootstrap(list(3 * drift), list(drift))
    assert (found.lower, found.upper) == (pytest.approx(3), pytest.approx(3))


@pytest.mark.parametrize("values", [[2.0] * 11, [2.0] * 9 + [2.5] * 2, [2.0] * 5 + [2.5] * 6])
def test_degenerate_values_have_bounds_too(values: list[float]) -> None:
    found = _bootstrap(values, [1.0] * 11)
    assert 2.0 <= found.lower <= found.value <= found.upper <= 2.5
    if values == [2.0] * 11:
        assert found.lower == found.upper == 2.0


def test_too_few_processes_have_no_bootstrap_bounds() -> None:
    found = _bootstrap([2.0, 2.1] * 5, [1.0] * 10)
    assert (found.lower, found.upper, found.confidence) == (None, None, None)
    with pytest.raises(MeasurementError, match="not measured together"):
        _bootstrap([2.0] * 11, [1.0] * 22)


def _predicted(network: str, ms: float, share: float | None = None) -> EngineRecord:
    figures = [Figure(name="latency_ms_p90", value=ms, origin="predicted", lower=ms / 2, upper=ms * 2, confidence=0.95)]
    if share is not None:
        bounds = {"lower": share / 1.1, "upper": share * 1.1, "confidence": 0.95}
        figures.append(Figure(name="share_of_teacher", value=share, origin="predicted", **bounds))
    point = OperatingPoint()
    return EngineRecord(
        network=network, scheme="fp16", runtime="t", digest="d", operating_point=point, figures=tuple(figures)
    )


def test_predictions_are_compared_by_their_share_of_the_teacher_or_without_bounds() -> None:
    teacher, one, other = _predicted("teacher", 4.0, 1.0), _predicted("a", 1.0, 0.25), _predicted("b", 2.0, 0.5)
    share = paired_ratio(one, teacher, 90, "r")
    assert (share.name, share.value, share.origin, share.upper) == ("r", 0.25, "predicted", pytest.approx(0.275))
    between = paired_ratio(one, other, 90, "r")
    assert (between.value, between.lower, between.upper, between.confidence) == (0.5, None, None, None)
    with pytest.raises(MeasurementError, match="not measured together"):
        paired_ratio(one, _record("teacher", "fp32", "a", [1.0] * 11), 90, "r")


def _restless(
    random: np.random.Generator, processes: int, blocks: int = 8
) -> tuple[Series, EngineRecord, EngineRecord]:
    """Measure 0.4 and 1 ms in turns on a machine that is now and then three tenths slower, for a few blocks."""
    slow, speeds = False, []
    for _ in range(processes * blocks * 2):
        slow ^= bool(random.random() < 0.15)
        speeds.append(1.3 if slow else 1.0)
    taken = np.array(speeds).reshape(processes, blocks, 2) * random.normal(1, 0.02, (processes, blocks, 2))
    times = {"s/fp32/a": 0.4 * taken[..., 0], "t/fp32/a": taken[..., 1]}
    one, other = (
        _record(key[0], "fp32", "a", [float(ms) for ms in np.median(found, axis=1)]) for key, found in times.items()
    )
    told = {key: tuple(float(ms) for ms in found.reshape(-1)) for key, found in times.items()}
    return Series([one, other], {}, blocks=told), one, other


def test_blocks_taken_in_turns_tell_a_ratio_more_sharply_on_a_machine_that_changes_its_speed() -> None:
    random = np.random.default_rng(0)
    sharp, plain = [], []
    for _ in range(200):
        series, one, other = _restless(random, processes=9)
        sharp.append(ratio_in_turns(series, one.key, other.key))
        plain.append(paired_ratio(one, other, 90, "r").value)
    assert np.mean(sharp) == pytest.approx(0.4, rel=0.005)
    assert np.std(sharp) < 0.6 * np.std(plain)


def test_a_ratio_in_turns_needs_both_engines() -> None:
    series, one, _ = _restless(np.random.default_rng(0), processes=1)
    with pytest.raises(MeasurementError, match="'other/fp32/a' was not measured; the series holds s/fp32/a, t/fp32/a"):
        ratio_in_turns(series, one.key, "other/fp32/a")
