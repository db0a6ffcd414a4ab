"""torch.compile is taken where the timed steps say that it pays, and only there."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from edgekd.train.batches import Batch
from edgekd.train.compiling import PROBED, pays
from edgekd.train.objective import Terms
from tests.models import INPUT_SHAPE, settled

BATCH = Batch(torch.randn(8, *INPUT_SHAPE), torch.arange(8) % 4)


class Slow(nn.Module):
    """Takes so many seconds a step, the first time more."""

    def __init__(self, first: float, later: float) -> None:
        super().__init__()
        self.inner, self.first, self.later, self.ran = nn.Linear(144, 4), first, later, 0

    def forward(self, x: Tensor) -> Tensor:
        time.sleep(self.later if self.ran else self.first)
        self.ran += 1
        return self.inner(x.flatten(1))


def objective(model: nn.Module, batch: Batch) -> Terms:
    return Terms(nn.functional.cross_entropy(model(batch.inputs), batch.labels))


@pytest.mark.parametrize(("steps", "expected"), [(20, False), (2000, True)])
def test_its_own_cost_counts(steps: int, expected: bool) -> None:
    """10 ms against 2 ms a step, and 1 s to compile: 125 steps pay it back."""
    assert pays(Slow(0.01, 0.01), BATCH, objective, steps, lambda _: Slow(1.0, 0.002)) == expected


def test_one_that_is_slower_is_not_taken() -> None:
    assert not pays(Slow(0.001, 0.001), BATCH, objective, 10**6, lambda _: Slow(0.001, 0.01))


def test_a_network_that_does_not_compile_is_trained_without(caplog: pytest.LogCaptureFixture) -> None:
    def refuse(model: nn.Module) -> nn.Module:
        raise RuntimeError("no such operator\nand a long trace")

    with caplog.at_level("WARNING", "edgekd"):
        assert not pays(settled("mlp"), BATCH, objective, 100, refuse)
    assert "torch.compile fails on this network, it is trained without: no such operator" in caplog.text


def test_model_and_random_numbers_are_left_as_they_are() -> None:
    model = settled("residual").train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    torch.manual_seed(5)
    pays(model, BATCH, objective, 10, lambda inner: inner)
    drawn = torch.rand(2)
    torch.manual_seed(5)
    assert torch.equal(torch.rand(2), drawn)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert PROBED == 20


def test_a_compiled_training_ends_where_a_plain_one_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from edgekd.train import loop
    from edgekd.train.loop import LoopConfig, train
    from tests.train.test_loop import batches

    monkeypatch.setattr(loop, "pays", lambda *given: True)
    monkeypatch.setattr(loop, "compiled", lambda model: torch.compile(model, backend="eager"))
    ends = {}
    for compile_ in ("never", "auto"):
        model = settled("mlp")
        config = LoopConfig(epochs=2, batch=16, compile=compile_)
        train(model, batches(), objective, config, folder=tmp_path / compile_, title="test")
        ends[compile_] = model
    for one, two in zip(ends["never"].parameters(), ends["auto"].parameters(), strict=True):
        assert torch.allclose(one, two, atol=1e-6)
    assert "_orig_mod" not in " ".join(ends["auto"].state_dict())
