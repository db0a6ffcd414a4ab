from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from edgekd.artifact import ArtifactSet
from edgekd.errors import UsageError
from edgekd.models.kernels import kernels
from edgekd.prune.cost import channel_step, cost, limit, shipped_schemes
from tests.distill.tiny_run import context
from tests.models import INPUT_SHAPE, ResidualCnn
from tests.prune.probes import add_probes, milliseconds

NETWORK = kernels(ResidualCnn(32), INPUT_SHAPE)
WITH_INTEGERS = {"stages": {"search": {}, "prune": {}, "quantize": {}}}


def test_the_arithmetic_that_ships_decides_what_is_predicted(tmp_path: Path) -> None:
    floats, integers = context(tmp_path), context(tmp_path, **WITH_INTEGERS)
    probes = ArtifactSet(artifacts=(add_probes(floats),))
    assert shipped_schemes(floats) == ("fp32",)
    assert shipped_schemes(integers) == ("u8w8", "fp32")
    assert cost(probes, floats, 16).of(NETWORK) == pytest.approx(milliseconds(32), rel=0.05)
    assert cost(probes, integers, 16).of(NETWORK) == pytest.approx(milliseconds(32, "u8w8"), rel=0.05)


def test_the_figure_is_a_prediction_corrected_by_the_last_round(tmp_path: Path) -> None:
    run = replace(context(tmp_path), correction=1.5)
    probes = ArtifactSet(artifacts=(add_probes(run),))
    found = cost(probes, run, 16)
    figure = found.figure(NETWORK)
    assert figure is not None
    assert figure.name == "latency_ms_p90"
    assert figure.origin == "predicted"
    assert figure.value == pytest.approx(1.5 * milliseconds(32), rel=0.05)
    assert figure.value == pytest.approx(found.of(NETWORK))
    assert figure.lower is not None
    assert figure.upper is not None
    assert figure.lower <= figure.value <= figure.upper


def test_without_a_profile_filled_multiplications_stand_in_and_are_no_figure(tmp_path: Path) -> None:
    found = cost(ArtifactSet(), context(tmp_path), 16)
    assert found.of(kernels(ResidualCnn(31), INPUT_SHAPE)) == found.of(NETWORK)
    assert found.of(kernels(ResidualCnn(16), INPUT_SHAPE)) < found.of(NETWORK)
    assert found.figure(NETWORK) is None
    assert "multiplications" in found.unit


def test_the_limit_is_the_speedup_or_the_budgets(tmp_path: Path) -> None:
    run = context(tmp_path, budget={"latency_ratio": 0.5})
    probes = ArtifactSet(artifacts=(add_probes(run),))
    assert limit(3.0, 2.0, probes, run) == 1.5
    assert limit(3.0, None, probes, run) == pytest.approx(0.5 * milliseconds(16))
    with pytest.raises(UsageError, match="give it a speedup"):
        limit(3.0, None, ArtifactSet(), run)


def test_the_step_is_the_targets(tmp_path: Path) -> None:
    assert channel_step(context(tmp_path, **WITH_INTEGERS)) == 16
