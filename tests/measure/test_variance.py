from __future__ import annotations

import numpy as np
import pytest

from edgekd.errors import MeasurementError
from edgekd.measure.variance import scatter


def _runs(random: np.random.Generator, builds: int, processes: int, runs: int, of: tuple[float, float, float]):
    """Return times around 2 and their builds; `of` are the true coefficients of variation of run, process, build."""
    run, process, build = of
    by_build = build * random.standard_normal((builds, 1, 1))
    by_process = process * random.standard_normal((builds, processes, 1))
    times = 2 * (1 + by_build + by_process + run * random.standard_normal((builds, processes, runs)))
    return list(times.reshape(-1, runs)), list(np.repeat(np.arange(builds), processes))


@pytest.mark.parametrize("of", [(0.05, 0.02, 0.0), (0.02, 0.01, 0.04), (0.01, 0.03, 0.02)])
def test_known_components_are_found(of: tuple[float, float, float]) -> None:
    """Variances are averaged over many designs: the method of moments is unbiased for them (but for truncation)."""
    random = np.random.default_rng(0)
    found = np.array([scatter(*_runs(random, 6, 6, 16, of)) for _ in range(400)])
    assert np.sqrt(np.mean(found**2, axis=0)) == pytest.approx(of, rel=0.08, abs=0.006)


def test_unequal_counts_do_not_bias() -> None:
    random, found = np.random.default_rng(1), []
    for _ in range(400):
        runs, builds = _runs(random, 6, 6, 30, (0.05, 0.02, 0.03))
        ragged = [times[: 4 + 26 * (number % 3) // 2] for number, times in enumerate(runs)]
        kept = [number for number in range(36) if number % 7]
        found.append(scatter([ragged[n] for n in kept], [builds[n] for n in kept]))
    assert np.sqrt(np.mean(np.array(found) ** 2, axis=0)) == pytest.approx((0.05, 0.02, 0.03), rel=0.08)


def test_one_build_has_no_level_of_its_own() -> None:
    runs, builds = _runs(np.random.default_rng(2), 1, 40, 16, (0.03, 0.02, 0.0))
    found = scatter(runs)
    assert found == scatter(runs, builds)
    assert found.build is None
    assert found.run == pytest.approx(0.03, rel=0.1)
    assert found.process == pytest.approx(0.02, rel=0.4)


def test_runs_alone_leave_nothing_to_the_processes() -> None:
    assert scatter([[1.0, 3.0], [1.0, 3.0], [3.0, 1.0]]) == (pytest.approx(np.sqrt(2) / 2), 0.0, None)
    assert scatter([[1.0, 1.0], [1.0, 1.0]]) == (0.0, 0.0, None)


@pytest.mark.parametrize(
    ("runs", "builds"),
    [([[1.0, 2.0]], None), ([[1.0, 2.0], [1.0]], None), ([[1.0, 2.0]] * 3, "aab"), ([[1.0, 2.0]] * 3, "aa")],
)
def test_levels_with_too_few_members_are_refused(runs: list[list[float]], builds: str | None) -> None:
    with pytest.raises(MeasurementError):
        scatter(runs, builds)
