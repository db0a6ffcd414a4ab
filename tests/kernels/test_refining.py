"""An engine that was profiled anyway becomes a probe, where it fits."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgekd.budget import OperatingPoint
from edgekd.fuse.fusion import FUSIONS
from edgekd.kernel import KernelProfile
from edgekd.kernels.refining import refined
from edgekd.measure import anchor
from edgekd.onnx_graph.graph import read
from edgekd.predict.latency import LatencyModel
from edgekd.profile import EngineRecord, Layer, Profile
from tests.onnx_graph.onnx_graphs import classic
from tests.predict import synthetic_machine as machine

NETWORK = classic("squeezenet")
SLOWER = 1.6
"""How much slower than the formula the engine's kernels were measured."""


@pytest.fixture(scope="module")
def profile() -> KernelProfile:
    return machine.profile()


def measured(threads: int = 1, version: str = "1.0", pace: float = 1.0, layers: int | None = None) -> Profile:
    rules = FUSIONS.get("onnxruntime")()
    kernels = rules.kernels(read(NETWORK))
    point = OperatingPoint(batch=1, threads=threads)
    rows = [
        Layer(kernel.covers[-1] if kernel.covers else "ReorderOutput", "?", "?", ms, ms)
        for kernel in kernels
        for ms in [SLOWER * pace * machine.kernel_ms(kernel)]
    ]
    ms = machine.CALL_MS + sum(row.ms for row in rows)
    engine = EngineRecord(
        network="squeezenet", scheme="given", runtime="onnxruntime", digest="ab" * 32, operating_point=point,
        per_process={"latency_ms_p50": (ms, ms, ms)}, layers=tuple(rows[:layers]),
    )  # fmt: skip
    beside = EngineRecord(
        network=anchor.NAME, scheme="fp32", runtime="onnxruntime", digest="cd" * 32, operating_point=point,
        per_process={"latency_ms_p50": (0.5 * pace,)},
    )  # fmt: skip
    return Profile(target="x86-vnni", origin="device", versions={"onnxruntime": version}, records=(engine, beside))


def predicted_ms(profile: KernelProfile, network: Path) -> float:
    kernels = FUSIONS.get("onnxruntime")().kernels(read(network))
    return LatencyModel(profile, "onnxruntime").predicted(kernels).latency.value


@pytest.fixture
def matching(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows in the order of the kernels: names are the business of the rules' own tests."""
    rules = FUSIONS.get("onnxruntime")
    monkeypatch.setattr(rules, "matched", lambda self, kernels, rows: [row.ms for row in rows])


@pytest.mark.usefixtures("matching")
def test_the_prediction_of_what_was_measured_moves_towards_it(profile: KernelProfile) -> None:
    found = refined(profile, NETWORK, measured())
    assert found is not None
    assert len(found.probes) == len(profile.probes) + 1
    before, after = predicted_ms(profile, NETWORK), predicted_ms(found, NETWORK)
    assert before < after <= SLOWER * before * 1.05


@pytest.mark.usefixtures("matching")
def test_measured_again_it_replaces_itself_at_the_usual_pace(profile: KernelProfile) -> None:
    once = refined(profile, NETWORK, measured())
    assert once is not None
    again = refined(once, NETWORK, measured(pace=1.3))
    assert again is not None
    assert len(again.probes) == len(once.probes)
    assert again.probes[-1].ms == pytest.approx(once.probes[-1].ms, rel=0.02)
    assert again.probes[-1].pace == pytest.approx(1.3)


@pytest.mark.usefixtures("matching")
@pytest.mark.parametrize("change", [{"threads": 2}, {"version": "2.0"}])
def test_another_operating_point_or_version_teaches_nothing(profile: KernelProfile, change: dict[str, object]) -> None:
    assert refined(profile, NETWORK, measured(**change)) is None  # type: ignore[arg-type]


def test_a_table_that_the_rules_do_not_explain_teaches_nothing(profile: KernelProfile) -> None:
    broken = measured()
    strange = tuple(layer._replace(name=f"strange {n}") for n, layer in enumerate(broken.records[0].layers))
    records = (broken.records[0].replace(layers=strange), broken.records[1])
    assert refined(profile, NETWORK, broken.replace(records=records)) is None
