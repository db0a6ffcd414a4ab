from __future__ import annotations

import numpy as np
import pytest
import torch

from edgekd.prune.samples import Samples, renew_statistics
from tests.distill.tiny_run import quadrants
from tests.models import settled

DATA = quadrants()


def test_every_class_equally_often_and_the_same_each_time() -> None:
    samples = Samples(DATA, 64, 16, seed=1)
    first, second = list(samples), list(samples)
    assert [len(batch.labels) for batch in first] == [16] * 4
    labels = torch.cat([batch.labels for batch in first]).numpy()
    assert np.bincount(labels).tolist() == [16] * 4
    assert all(torch.equal(a.inputs, b.inputs) for a, b in zip(first, second, strict=True))
    assert len({int(batch.labels[0]) for batch in first} | set(first[0].labels.tolist())) > 1  # not sorted by class


def test_asking_for_more_than_there_is_takes_all() -> None:
    assert sum(len(batch.labels) for batch in Samples(DATA, 10**6, 100, seed=0)) == len(DATA.train)


def test_statistics_are_those_of_the_samples() -> None:
    model = settled("residual").train()
    model.first_norm.eval()
    samples = Samples(DATA, 256, 16, seed=0)
    with torch.no_grad():
        model.stem.weight *= 3
    renew_statistics(model, samples, batch=256)
    with torch.no_grad():
        images = next(samples.of(256)).inputs
        made = model.stem(images)
    torch.testing.assert_close(model.stem_norm.running_mean, made.mean((0, 2, 3)), rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(model.stem_norm.running_var, made.var((0, 2, 3)), rtol=1e-3, atol=1e-4)
    assert model.stem_norm.momentum == pytest.approx(0.1)
    assert model.training


def test_a_network_without_batch_norm_is_left_alone() -> None:
    model = settled("mlp")
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    renew_statistics(model, Samples(DATA, 16, 16, seed=0))
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
