"""Held against a machine whose kernels cost what a formula says."""

from __future__ import annotations

import time
from itertools import pairwise
from random import Random

import numpy as np
import pytest
from scipy import stats

from edgekd.errors import EdgekdError, UsageError
from edgekd.kernel import FusedKernel, Probe
from edgekd.predict.costs import Costs, overhead, samples
from edgekd.predict.latency import LatencyModel
from edgekd.predict.learning import learned
from edgekd.predict.quantities import handed_over
from tests.onnx_graph.onnx_graphs import classic
from tests.predict import synthetic_machine as machine

RUNTIME = "onnxruntime"


@pytest.fixture(scope="module")
def model() -> LatencyModel:
    return LatencyModel(machine.profile(), RUNTIME)


def test_networks_it_has_not_seen_are_predicted_and_their_intervals_hold(model: LatencyModel) -> None:
    unseen = machine.probes(5_000, 40, RUNTIME, noise=0.0)
    found = [model.predicted([timed.kernel for timed in probe.kernels]) for probe in unseen]
    errors = np.array([one.latency.value / probe.ms - 1 for one, probe in zip(found, unseen, strict=True)])
    assert np.mean(np.abs(errors) < 0.1) >= 0.85
    assert stats.spearmanr([one.latency.value for one in found], [probe.ms for probe in unseen])[0] > 0.98
    held = [
        one.latency.lower <= probe.ms <= one.latency.upper  # type: ignore[operator]
        for one, probe in zip(found, unseen, strict=True)
    ]
    assert np.mean(held) >= 0.8


def test_the_parts_are_the_whole(model: LatencyModel) -> None:
    kernels = [timed.kernel for timed in machine.probes(6_000, 1, RUNTIME)[0].kernels]
    found = model.predicted(kernels)
    assert found.call_ms + sum(one.ms for one in found.kernels) == pytest.approx(found.latency.value)
    assert [one.kernel for one in found.kernels] == kernels
    assert found.latency.origin == "predicted"
    assert found.call_ms == pytest.approx(machine.CALL_MS, rel=0.5)


def test_a_kernel_nobody_has_measured_is_a_doubt(model: LatencyModel) -> None:
    kernel = FusedKernel("other.Unheard", "y", ((1, 512, 64, 64),), (1, 512, 64, 64))
    found = model.predicted([kernel])
    assert found.latency.value > 0
    assert any("other.Unheard" in doubt for doubt in found.doubts)


def test_many_networks_are_predicted_as_each_alone_and_quickly(model: LatencyModel) -> None:
    kernels = [timed.kernel for timed in machine.probes(7_000, 1, RUNTIME)[0].kernels]
    chance = Random(0)
    convolution = FusedKernel("conv.nchwc", "y", ((1, 64, 14, 14),), (1, 64, 14, 14), (64, 64, 3, 3), window=9)

    def member() -> list[FusedKernel]:
        widths = [16 * chance.randint(1, 12) for _ in range(21)]
        return [
            convolution._replace(inputs=((1, a, 14, 14),), output=(1, b, 14, 14), weights=(b, a, 3, 3))
            for a, b in pairwise(widths)
        ]

    networks = [kernels, *(member() for _ in range(4_000))]
    start = time.process_time()
    found = model.many_ms(networks)
    seconds = time.process_time() - start
    assert found.shape == (4_001, 3)
    assert len(networks) / seconds > 2_000
    for number in (0, 1, 4_000):
        alone = model.predicted(networks[number]).latency
        assert found[number, 0] == pytest.approx(alone.value, rel=0.02)
    assert (found[:, 1] < found[:, 0]).all()
    assert (found[:, 0] < found[:, 2]).all()


def test_what_counting_costs_is_taken_off() -> None:
    found = machine.probes(1, 40, RUNTIME, noise=0.0)
    slowed = [p.model_copy(update={"rows_ms": p.rows_ms + 0.002 * p.rows}) for p in found]
    beside = overhead(slowed)
    assert beside.call_ms == pytest.approx(machine.CALL_MS, rel=0.05)
    assert [beside.of(name) for name in ("qconv", "unheard")] == pytest.approx([-0.002, -0.002], rel=0.1)


def test_operators_that_take_longer_to_count_are_told_apart() -> None:
    def told(probe: Probe) -> float:
        return sum(0.001 if timed.kernel.code == "dequantize" else 0.002 for timed in probe.kernels)

    found = machine.probes(1, 150, RUNTIME, noise=0.0)
    beside = overhead([p.model_copy(update={"rows_ms": p.rows_ms + told(p)}) for p in found])
    assert -0.0017 < beside.of("dequantize") < -0.0008  # held back towards what the others cost
    assert beside.of("qconv") == pytest.approx(-0.002, rel=0.1)


def test_what_is_handed_over_costs_by_its_size() -> None:
    def copied(probe: Probe) -> float:
        read, written = handed_over([timed.kernel for timed in probe.kernels])
        return 0.03 * read / 1e6 + 0.01 * written / 1e6

    found = [p.model_copy(update={"ms": p.ms + copied(p)}) for p in machine.probes(1, 150, RUNTIME, noise=0.0)]
    beside = overhead(found)
    assert beside.read_ms == pytest.approx(0.03, rel=0.1)
    assert beside.written_ms == pytest.approx(0.01, rel=0.2)
    largest = max(found, key=copied)
    kernels = [timed.kernel for timed in largest.kernels]
    assert beside.call(kernels) == pytest.approx(machine.CALL_MS + copied(largest), rel=0.1)
    alone, together = (
        sum(ms for sample in samples([largest], one).values() for ms in sample.ms)
        for one in (beside, beside._replace(read_ms=0.0, written_ms=0.0))
    )
    left = (largest.ms - beside.call(kernels)) / (largest.ms - beside.call_ms)
    assert alone == pytest.approx(left * together, rel=0.01)


def test_disturbed_probes_hardly_change_a_prediction() -> None:
    clean = machine.probes(1, 80, RUNTIME)
    spoilt = [p.model_copy(update={"ms": 1.7 * p.ms}) if number % 20 == 0 else p for number, p in enumerate(clean)]
    kernels = [timed.kernel for timed in machine.probes(8_000, 1, RUNTIME)[0].kernels]
    fit = learned(clean)
    told, truth = (Costs.of(probes, fit).networks_ms([kernels])[0][0] for probes in (spoilt, clean))
    assert told == pytest.approx(truth, rel=0.1)


def test_what_no_probe_held_is_least_known() -> None:
    probes = machine.probes(1, 80, RUNTIME)
    costs = Costs(probes)
    usual = [timed.kernel for timed in probes[0].kernels]
    assert costs.ignorance([kernel._replace(code="unheard") for kernel in usual]) > 2 * costs.ignorance(usual)


def test_equal_kernels_of_a_probe_are_one_sample() -> None:
    probe, *_ = machine.probes(1, 1, RUNTIME)
    timed = probe.kernels[0]
    assert timed.ms is not None
    again = timed._replace(ms=1.1 * timed.ms)
    alone = samples([probe], overhead([probe]))
    twice = samples([probe.model_copy(update={"kernels": (*probe.kernels, again)})], overhead([probe]))
    assert {name: len(sample.ms) for name, sample in twice.items()} == {n: len(s.ms) for n, s in alone.items()}


def test_another_runtime_and_too_few_probes_are_refused() -> None:
    with pytest.raises(UsageError, match="holds nothing of runtime 'openvino'; known: onnxruntime"):
        LatencyModel(machine.profile(), "openvino")
    with pytest.raises(EdgekdError, match="at least 20"):
        learned(machine.probes(1, 5, RUNTIME))


def test_a_classic_network_is_predicted(model: LatencyModel) -> None:
    from edgekd.fuse.fusion import FUSIONS
    from edgekd.onnx_graph.graph import read

    kernels = FUSIONS.get(RUNTIME)().kernels(read(classic("squeezenet")))
    assert model.predicted(kernels).latency.value == pytest.approx(machine.latency_ms(kernels), rel=0.15)
