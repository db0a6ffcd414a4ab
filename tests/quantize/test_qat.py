from __future__ import annotations

import pytest
import torch
from torch import nn

from edgekd.errors import TrainingError, UsageError
from edgekd.quantize.qat import train_where_needed


class Scored(nn.Module):
    """Its accuracy is its only weight."""

    def __init__(self, accuracy: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(accuracy))


def to(accuracy: float):
    def train(module: nn.Module) -> None:
        with torch.no_grad():
            module.weight.fill_(accuracy)

    return train


def never(module: nn.Module) -> None:
    raise AssertionError("must not be trained")


def diverging(module: nn.Module) -> None:
    to(float("nan"))(module)
    raise TrainingError("the loss became nan")


def misconfigured(module: nn.Module) -> None:
    raise UsageError("unknown name 'logit-kl' in losses")


def run(calibrated: float, train, when: str = "auto"):
    module = Scored(calibrated)
    outcome = train_where_needed(
        module,
        floating=98.0,
        when=when,
        tolerance=0.3,
        train=train,
        score=lambda network: float(network.weight.detach()),
    )
    assert outcome.calibrated == pytest.approx(calibrated, abs=1e-4)
    assert float(module.weight.detach()) == pytest.approx(calibrated, abs=1e-4)
    assert float(outcome.module.weight.detach()) == pytest.approx(outcome.accuracy, abs=1e-4)
    return outcome


@pytest.mark.parametrize(("calibrated", "when"), [(97.8, "auto"), (98.5, "auto"), (10.0, "never")])
def test_nothing_is_trained_where_it_is_not_needed(calibrated: float, when: str) -> None:
    outcome = run(calibrated, never, when)
    assert outcome.accuracy == pytest.approx(calibrated, abs=1e-4)
    assert "not trained" in outcome.note


@pytest.mark.parametrize(("calibrated", "when"), [(97.0, "auto"), (97.9, "always")])
def test_training_is_kept_where_it_helps(calibrated: float, when: str) -> None:
    outcome = run(calibrated, to(97.95), when)
    assert outcome.accuracy == pytest.approx(97.95, abs=1e-4)
    assert "won back" in outcome.note


@pytest.mark.parametrize("train", [to(11.0), diverging], ids=["collapsed", "diverged"])
def test_a_collapse_is_rolled_back(train) -> None:
    outcome = run(97.0, train)
    assert outcome.accuracy == pytest.approx(97.0, abs=1e-4)
    assert "rolled back" in outcome.note


def test_a_mistake_of_the_user_is_no_lost_accuracy() -> None:
    with pytest.raises(UsageError, match="unknown name"):
        run(97.0, misconfigured)
