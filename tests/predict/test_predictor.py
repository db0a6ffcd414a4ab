from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekd import target as targets
from edgekd.budget import OperatingPoint
from edgekd.errors import EdgekdError
from edgekd.figure import Figure
from edgekd.predict.features import features
from edgekd.predict.predictor import Predictor, measured_ms
from edgekd.profile import EngineRecord, Kernel, Profile, latency_name

SPEED = {("fp32", "onnxruntime"): 1.0, ("fp32", "openvino"): 0.8, ("u8w8", "openvino"): 0.4}
COST = np.array([0.02, 0.004, 2e-8, 5e-8, 1e-7])


def network(width: int, depth: int = 4) -> tuple[Kernel, ...]:
    stem = Kernel("conv", "stem", 1, width, 1, 3, 784, 784)
    body = [Kernel("conv", f"c{i}", width, width, 1, 3, 784, 784) for i in range(depth)]
    adds = [Kernel("elementwise", f"a{i}", width, width, 1, 1, 784, 784) for i in range(depth // 2)]
    return (stem, *body, *adds, Kernel("linear", "head", width, 10, 1, 1, 1, 1))


def record(name: str, kernels: tuple[Kernel, ...], scheme: str, runtime: str, noise: float = 1.0) -> EngineRecord:
    ms = float(features(kernels, 16) @ COST) * SPEED[scheme, runtime] * noise
    return EngineRecord(
        network=name,
        scheme=scheme,
        runtime=runtime,
        digest="0",
        operating_point=OperatingPoint(),
        figures=(Figure(name="latency_ms_p90", value=ms, origin="device"),),
        kernels=kernels,
    )


def profile() -> Profile:
    probes = {f"p{w}-{d}": network(w, d) for w, d in [(16, 4), (32, 4), (16, 10), (48, 6)]}
    return Profile(
        target="x86-vnni",
        origin="device",
        records=tuple(record(name, kernels, *pair) for pair in SPEED for name, kernels in probes.items()),
    )


PREDICTOR = Predictor.fit(profile())


@pytest.mark.parametrize("pair", SPEED)
def test_four_engines_predict_an_unseen_network(pair: tuple[str, str]) -> None:
    unseen = network(32, 8)
    figure = PREDICTOR.latency_ms(unseen, *pair)
    assert figure.value == pytest.approx(float(features(unseen, 16) @ COST) * SPEED[pair], rel=0.1)
    assert figure.origin == "predicted"
    assert figure.lower is not None
    assert figure.upper is not None
    assert figure.lower <= figure.value <= figure.upper
    assert "predicted" in figure.text()


def test_best_is_the_fastest_pair_and_respects_the_schemes_asked_for() -> None:
    assert PREDICTOR.best(network(32))[:2] == ("u8w8", "openvino")
    assert PREDICTOR.best(network(32), ["fp32"])[:2] == ("fp32", "openvino")


@given(width=st.integers(1, 64), depth=st.integers(1, 12), wider=st.integers(0, 40), deeper=st.integers(0, 5))
def test_latency_never_falls_with_macs(width: int, depth: int, wider: int, deeper: int) -> None:
    small = PREDICTOR.latency_ms(network(width, depth), "fp32", "onnxruntime").value
    large = PREDICTOR.latency_ms(network(width + wider, depth + deeper), "fp32", "onnxruntime").value
    assert large >= small * (1 - 1e-12)


def test_noise_widens_the_bounds() -> None:
    noisy = Profile(
        target="x86-vnni",
        origin="device",
        records=tuple(
            r.replace(figures=(r.figures[0].replace(value=r.figures[0].value * (1.2 if k % 2 else 0.9)),))
            for k, r in enumerate(profile().records)
        ),
    )
    clean, loose = (p.latency_ms(network(32, 8), "fp32", "openvino") for p in (PREDICTOR, Predictor.fit(noisy)))
    assert clean.upper is not None
    assert loose.upper is not None
    assert loose.upper / loose.value > clean.upper / clean.value


def test_an_unmeasured_pair_is_refused_by_name() -> None:
    with pytest.raises(
        EdgekdError, match="no engine of scheme 's8' on runtime 'tensorrt' was measured; known: fp32 on"
    ):
        PREDICTOR.latency_ms(network(16), "s8", "tensorrt")
    with pytest.raises(EdgekdError, match="no engine of schemes"):
        PREDICTOR.best(network(16), ["s8"])


def test_a_profile_without_kernels_cannot_be_fitted() -> None:
    bare = tuple(r.replace(kernels=()) for r in profile().records)
    with pytest.raises(EdgekdError, match="no engine with kernels and latency_ms_p90"):
        Predictor.fit(Profile(target="x86-vnni", origin="device", records=bare))


def test_another_percentile_is_taken_from_the_processes() -> None:
    found = record("p", network(16), "fp32", "openvino").replace(per_process={"latency_ms_p95": (3.0, 1.0, 2.0)})
    assert measured_ms(found, 95) == 2.0
    assert measured_ms(found, 99) is None
    assert latency_name(99.9) == "latency_ms_p99.9"


def test_a_target_file_of_the_users_own_may_be_given() -> None:
    own = profile().replace(target="nowhere")
    assert Predictor.fit(own, targets.load("x86-vnni")).pairs == list(SPEED)
