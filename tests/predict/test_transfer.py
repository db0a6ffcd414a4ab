"""On real tables: each device of NAS-Bench-201 in turn is new, and the others are known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from edgekd.errors import EdgekdError
from edgekd.predict.gaussian_process import standardised
from edgekd.predict.transfer import most_telling, transfer
from tests.predict import nas_bench_201 as table

CELLS = 2_000


@pytest.fixture(scope="module")
def cells() -> tuple[np.ndarray, np.ndarray]:
    """Return latencies (2000, 14) and the structure of a random sample of cells."""
    rows = np.random.default_rng(0).choice(15_625, CELLS, replace=False)
    _, latencies = table.latencies()
    _, groups = table.features()
    return latencies[rows], standardised(np.concatenate([groups[0], groups[2]], axis=1)[rows])


def test_ten_cells_and_the_other_devices_order_all_cells(cells: tuple[np.ndarray, np.ndarray]) -> None:
    latencies, structure = cells
    ranks = []
    for device in range(latencies.shape[1]):
        known = np.delete(latencies, device, axis=1)
        rows = most_telling(known, structure, range(300), 10)
        found = transfer(known, structure, rows, latencies[rows, device])
        rest = np.setdiff1d(np.arange(CELLS), rows)
        ranks.append(stats.spearmanr(found.mean[rest], latencies[rest, device])[0])
    assert np.mean(ranks) >= 0.94
    assert min(ranks) >= 0.8


def test_a_device_that_is_a_known_one_but_twice_as_slow_is_recognised(cells: tuple[np.ndarray, np.ndarray]) -> None:
    latencies, structure = cells
    twin = 2 * latencies[:, 6]
    found = transfer(latencies, structure, range(10), twin[:10])
    missed = np.abs(np.exp(found.mean) / twin - 1)
    assert np.quantile(missed, 0.95) < 0.1
    assert missed.max() < 0.3
    assert np.median(found.deviation) < 0.15


def test_one_spoilt_measurement_does_not_spoil_the_prediction(cells: tuple[np.ndarray, np.ndarray]) -> None:
    latencies, structure = cells
    known, new = np.delete(latencies, 6, axis=1), latencies[:, 6].copy()
    clean = transfer(known, structure, range(10), new[:10])
    new[3] *= 2
    spoilt = transfer(known, structure, range(10), new[:10])
    assert np.median(np.abs(spoilt.mean - clean.mean)) < 0.06


def test_the_most_telling_cells_are_of_those_offered_and_all_different(cells: tuple[np.ndarray, np.ndarray]) -> None:
    latencies, structure = cells
    offered = list(range(50, 120))
    rows = most_telling(latencies, structure, offered, 10)
    assert len(set(rows)) == 10
    assert set(rows) <= set(offered)


def test_what_cannot_be_right_is_refused(cells: tuple[np.ndarray, np.ndarray]) -> None:
    latencies, structure = cells
    with pytest.raises(EdgekdError, match="1 of them measured with 1 latencies"):
        transfer(latencies, structure, [0], latencies[:1, 0])
    with pytest.raises(EdgekdError, match="positive"):
        transfer(np.zeros_like(latencies), structure, [0, 1], latencies[:2, 0])
