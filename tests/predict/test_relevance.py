from __future__ import annotations

import numpy as np
import pytest

from edgekd.predict.relevance import Relevance, RelevanceProcess


def surface(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return features of which two of six matter, and what is to be learned."""
    features = np.random.default_rng(seed).normal(size=(count, 6))
    return features, np.sin(2 * features[:, 0]) + 0.5 * features[:, 1]


@pytest.fixture(scope="module")
def process() -> RelevanceProcess:
    features, targets = surface(400, 0)
    noise = np.random.default_rng(1).normal(scale=0.05, size=400)
    noise[::40] += 3
    return RelevanceProcess(features, targets + noise)


def test_it_learns_what_matters_in_spite_of_outliers(process: RelevanceProcess) -> None:
    features, targets = surface(200, 2)
    missed = np.abs(process.mean(features) - targets)
    assert np.median(missed) < 0.05
    lengths = process.relevance.lengths
    assert min(lengths[:1]) > max(lengths[2:]) + 1


def test_outliers_do_not_pass_for_noise(process: RelevanceProcess) -> None:
    assert process.noise < 0.15**2  # 0.05 and a few by 3, which are 0.47 together


def test_it_knows_where_it_knows_nothing(process: RelevanceProcess) -> None:
    near, _ = surface(50, 3)
    assert np.median(process.variance(near)) < 0.1 * np.median(process.variance(near + 10))


def test_hyperparameters_are_plain_numbers(process: RelevanceProcess) -> None:
    features, targets = surface(400, 0)
    again = Relevance.of(process.relevance.vector())
    assert again == process.relevance
    assert len(again.vector()) == Relevance.numbers(features.shape[1])
    kept = RelevanceProcess(features, targets, relevance=again)
    assert kept.relevance == again


def test_inexact_targets_count_less() -> None:
    features, targets = surface(300, 4)
    wrong = targets + np.where(np.arange(300) % 2, 1.0, 0.0)
    exact = np.where(np.arange(300) % 2, 1e-3, 1.0)
    unseen, truth = surface(100, 5)
    relevance = RelevanceProcess(features, targets).relevance
    told = RelevanceProcess(features, wrong, exact, relevance).mean(unseen) - truth
    deaf = RelevanceProcess(features, wrong, None, relevance).mean(unseen) - truth
    assert np.median(np.abs(told)) < 0.5 * np.median(np.abs(deaf))
