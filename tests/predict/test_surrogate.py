"""On real tables: 15,625 cells of NAS-Bench-201, measured by others on fourteen devices."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from edgekd.predict.gaussian_process import standardised
from edgekd.predict.surrogate import Surrogate
from tests.predict import nas_bench_201 as table


def test_a_hundred_cells_predict_all_others_on_every_processor() -> None:
    devices, latencies = table.latencies()
    summed, groups = table.features()
    scaled = [standardised(group) for group in groups]
    rows = np.random.default_rng(0).choice(len(latencies), 100, replace=False)
    rest = np.setdiff1d(np.arange(len(latencies)), rows)[::5]
    ranks, near, held = [], [], []
    for name in table.CPUS:
        measured = latencies[:, devices.index(name)]
        surrogate = Surrogate(summed[rows], [group[rows] for group in scaled], measured[rows])
        prediction = surrogate(summed[rest], [group[rest] for group in scaled])
        found = np.exp(prediction.mean)
        low, high = surrogate.bounds_ms(prediction, 0.9)
        ranks.append(stats.spearmanr(found, measured[rest])[0])
        near.append(np.mean(np.abs(found / measured[rest] - 1) <= 0.1))
        held.append(np.mean((low <= measured[rest]) & (measured[rest] <= high)))
    assert np.mean(ranks) >= 0.95
    assert np.mean(near) >= 0.70
    assert 0.85 <= np.mean(held) <= 0.97


def test_larger_networks_than_any_measured_are_predicted_by_their_parts() -> None:
    random = np.random.default_rng(0)
    small, large = (np.column_stack([np.ones(60), random.integers(1, top, (60, 2))]) for top in (10, 100))
    costs = np.array([0.5, 0.1, 0.3])
    surrogate = Surrogate(small, [standardised(small)], small @ costs)
    scaled = (large - small.mean(axis=0)) / np.maximum(small.std(axis=0), 1e-9) / np.sqrt(2)
    np.testing.assert_allclose(np.exp(surrogate(large, [scaled]).mean), large @ costs, rtol=0.05)


def test_a_network_without_parts_still_has_a_latency() -> None:
    rows = np.arange(1.0, 21.0)[:, None]
    surrogate = Surrogate(rows, [standardised(rows)], rows[:, 0])
    assert np.isfinite(surrogate(np.zeros((1, 1)), [np.zeros((1, 1))]).mean).all()


@pytest.mark.parametrize("name", ["pixel2", "titan_rtx_1"])
def test_the_table_is_what_its_readme_says(name: str) -> None:
    devices, latencies = table.latencies()
    assert latencies.shape == (15_625, 14)
    assert (latencies[:, devices.index(name)] > 0).all()
