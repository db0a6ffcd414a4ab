"""Training learns, resumes to the bit, and stops with a sentence."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgekd.errors import TrainingError, UsageError
from edgekd.recipe import DataSpec
from edgekd.stage import Advance, Progress
from edgekd.train import resume
from edgekd.train.augment import augmentation
from edgekd.train.data import normalised
from edgekd.train.evaluate import accuracy, logits
from edgekd.train.loop import AugmentedBatches, Batch, History, LoopConfig, Terms, train
from tests.models import ResidualCnn
from tests.train.synthetic import quadrants

DATA = quadrants()
CONFIG = LoopConfig(epochs=3, batch=16, learning_rate=0.1)


class Noisy(ResidualCnn):
    """Draws from the global random numbers in every step."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(F.dropout(x, 0.1, self.training))


class Interrupting:
    """An objective that ends the process, or spoils the loss, in one step."""

    def __init__(self, step: int = -1, becomes: float | None = None) -> None:
        self.step, self.becomes, self.seen = step, becomes, 0

    def __call__(self, model: nn.Module, batch: Batch) -> Terms:
        loss = F.cross_entropy(model(batch.inputs), batch.labels)
        self.seen += 1
        if self.seen - 1 != self.step:
            return Terms(loss)
        if self.becomes is None:
            raise KeyboardInterrupt
        return Terms(loss * self.becomes)


def fresh() -> nn.Module:
    torch.manual_seed(3)
    return Noisy()


def batches() -> AugmentedBatches:
    augment = augmentation(DataSpec(name="mnist5k", augmentation="affine"))
    return AugmentedBatches(normalised(DATA.train, DATA), DATA.train.labels, batch=16, augmentation=augment, seed=0)


def run(
    folder: Path,
    config: LoopConfig = CONFIG,
    objective: Interrupting | None = None,
    model: nn.Module | None = None,
    until: int | None = None,
) -> tuple[nn.Module, History]:
    model = model or fresh()
    validation = normalised(DATA.validation, DATA)
    history = train(
        model,
        batches(),
        objective or Interrupting(),
        config,
        folder=folder,
        title="test",
        progress=Progress(),
        score=lambda m: accuracy(logits(m, validation), DATA.validation.labels),
        until=until,
    )
    return model, history


def same(first: nn.Module, second: nn.Module) -> bool:
    one, two = first.state_dict(), second.state_dict()
    return all(torch.equal(one[key], two[key]) for key in one)


def test_it_learns(tmp_path: Path) -> None:
    model, history = run(tmp_path, CONFIG.replace(epochs=6))
    assert history.epochs == len(history.scores) == 6
    assert history.images == 6 * 96
    assert history.losses[-1] < 0.7 * history.losses[0]
    assert history.scores[-1] > 60
    assert not model.training


def test_same_seed_same_weights_and_another_seed_others(tmp_path: Path) -> None:
    first, second = run(tmp_path / "a")[0], run(tmp_path / "b")[0]
    assert same(first, second)
    torch.manual_seed(4)
    assert not same(first, run(tmp_path / "c", model=Noisy())[0])


@pytest.mark.parametrize(
    "config", [CONFIG, CONFIG.replace(optimizer="adamw", learning_rate=0.01, clip=0.5)], ids=["sgd", "adamw"]
)
@pytest.mark.parametrize("step", [0, 6, 15], ids=["first epoch", "between epochs", "last epoch"])
def test_a_killed_training_ends_bit_identical(tmp_path: Path, config: LoopConfig, step: int) -> None:
    undisturbed, history = run(tmp_path / "a", config)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "b", config, Interrupting(step))
    torch.manual_seed(99 if step >= 6 else 3)  # after an epoch, the model and random numbers come from the file
    model = Noisy() if step >= 6 else fresh()
    resumed, again = run(tmp_path / "b", config, model=model)
    assert same(undisturbed, resumed)
    assert (history.losses, history.scores, history.images) == (again.losses, again.scores, again.images)


def test_a_finished_training_is_not_repeated(tmp_path: Path) -> None:
    first, history = run(tmp_path)
    objective = Interrupting()
    second, again = run(tmp_path, objective=objective)
    assert objective.seen == 0
    assert same(first, second)
    assert again == history


def test_another_config_starts_over_and_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    run(tmp_path / "a")
    with caplog.at_level(logging.WARNING, "edgekd"):
        changed, _ = run(tmp_path / "a", CONFIG.replace(learning_rate=0.05))
    assert "starting over" in caplog.text
    assert same(changed, run(tmp_path / "b", CONFIG.replace(learning_rate=0.05))[0])


def test_a_loss_that_is_not_finite_stops_with_the_last_good_epoch(tmp_path: Path) -> None:
    with pytest.raises(
        TrainingError, match=r"last good epoch is 1, .* became nan in epoch 2, step 3; lower learning_rate"
    ):
        run(tmp_path, objective=Interrupting(8, float("nan")))
    resumed, _ = run(tmp_path)
    assert same(resumed, run(tmp_path / "undisturbed")[0])


def test_no_good_epoch_is_said_too(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="there is no good epoch"):
        run(tmp_path, objective=Interrupting(2, float("inf")))


def test_on_step_sees_every_step_with_its_gradients(tmp_path: Path) -> None:
    seen: list[int] = []

    def on_step(step: int, model: nn.Module) -> None:
        assert all(p.grad is not None for p in model.parameters())
        seen.append(step)

    train(fresh(), batches(), Interrupting(), CONFIG, folder=tmp_path, title="test", on_step=on_step)
    assert seen == list(range(18))


def test_progress_counts_every_step_also_after_a_kill(tmp_path: Path) -> None:
    class Counting(Progress):
        def __init__(self) -> None:
            self.done, self.total = 0, 0

        @contextmanager
        def task(self, title: str, total: int) -> Iterator[Advance]:
            def advance(steps: int = 1, note: str = "") -> None:
                self.done += steps

            self.total = total
            yield advance

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, objective=Interrupting(7))
    progress = Counting()
    train(fresh(), batches(), Interrupting(), CONFIG, folder=tmp_path, title="test", progress=progress)
    assert progress.done == progress.total == 18


def test_bf16_learns_and_keeps_float_weights(tmp_path: Path) -> None:
    model, history = run(tmp_path, CONFIG.replace(precision="bf16", epochs=6))
    assert history.losses[-1] < 0.8 * history.losses[0]
    assert all(p.dtype == torch.float32 for p in model.parameters())


def test_weights_that_are_not_finite_never_become_a_good_epoch(tmp_path: Path) -> None:
    def spoil(step: int, model: nn.Module) -> None:
        if step == 11:  # the last of the second epoch: no loss is taken with these weights
            with torch.no_grad():
                model.head.bias[0] = float("inf")

    augmented = batches()
    with pytest.raises(
        TrainingError, match=r"last good epoch is 1, .* weight is no longer finite after epoch 2; lower"
    ):
        train(fresh(), augmented, Interrupting(), CONFIG, folder=tmp_path, title="test", on_step=spoil)
    resumed = fresh()
    train(resumed, augmented, Interrupting(), CONFIG, folder=tmp_path, title="test")
    undisturbed = fresh()
    train(undisturbed, augmented, Interrupting(), CONFIG, folder=tmp_path / "other", title="test")
    assert same(resumed, undisturbed)


@pytest.mark.parametrize(
    "change",
    [
        {"ema": 0.9},
        {"precision": "bf16"},
        {"precision": "fp16"},
        {"patience": 3},
        {"optimizer": "dot"},
        {"ema": 0.9, "patience": 1, "clip": 0.5},
    ],
    ids=lambda change: "-".join(f"{key}-{value}" for key, value in change.items()),
)
def test_every_way_of_training_learns_and_resumes_to_the_bit(tmp_path: Path, change: dict[str, object]) -> None:
    config = CONFIG.replace(**{"epochs": 4, "learning_rate": 0.05, **change})
    undisturbed, history = run(tmp_path / "a", config)
    assert history.losses[-1] < history.losses[0]
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "b", config, Interrupting(15))
    torch.manual_seed(99)
    resumed, again = run(tmp_path / "b", config, model=Noisy())
    assert same(undisturbed, resumed)
    assert (history.losses, history.scores) == (again.losses, again.scores)


@pytest.mark.parametrize("change", [{}, {"ema": 0.9, "clip": 0.5}, {"patience": 3}, {"optimizer": "adamw"}])
def test_a_training_stopped_until_later_ends_bit_identical(tmp_path: Path, change: dict[str, object]) -> None:
    config = CONFIG.replace(**{"epochs": 4, "learning_rate": 0.02, **change})
    undisturbed, history = run(tmp_path / "a", config)
    for until in (1, 3):
        torch.manual_seed(3 if until == 1 else 99)
        _, early = run(tmp_path / "b", config, model=Noisy(), until=until)
        assert early.losses == history.losses[:until]
    torch.manual_seed(98)
    later, whole = run(tmp_path / "b", config, model=Noisy(), until=9)
    assert same(undisturbed, later)
    assert (history.losses, history.scores, history.images) == (whole.losses, whole.scores, whole.images)


def test_a_training_that_is_further_than_asked_for_is_started_over(tmp_path: Path) -> None:
    early, history = run(tmp_path / "a", until=1)
    run(tmp_path / "b", until=2)
    again, then = run(tmp_path / "b", until=1)
    assert same(early, again)
    assert then.losses == history.losses
    assert same(run(tmp_path / "a")[0], run(tmp_path / "b")[0])


def test_the_average_over_all_steps_is_what_stays(tmp_path: Path) -> None:
    model, averaged = fresh(), {}

    def follow(step: int, trained: nn.Module) -> None:
        decay = 0.8 if step else 0.0
        for name, tensor in trained.state_dict().items():
            old = averaged.get(name, tensor)
            averaged[name] = decay * old + (1 - decay) * tensor if tensor.is_floating_point() else tensor.clone()

    config = CONFIG.replace(epochs=2, ema=0.8)
    train(model, batches(), Interrupting(), config, folder=tmp_path, title="test", on_step=follow)
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point():
            assert torch.allclose(tensor, averaged[name], atol=1e-6)


def test_training_stops_without_progress_and_takes_the_best(tmp_path: Path) -> None:
    model, scores = fresh(), iter([1.0, 3.0, 2.0, 2.5, 9.0])
    kept: list[dict[str, Tensor]] = []

    def score(judged: nn.Module) -> float:
        kept.append({name: tensor.clone() for name, tensor in judged.state_dict().items()})
        return next(scores)

    config = CONFIG.replace(epochs=5, patience=2)
    history = train(model, batches(), Interrupting(), config, folder=tmp_path, title="test", score=score)
    assert history.scores == (1.0, 3.0, 2.0, 2.5)
    assert all(torch.equal(tensor, kept[1][name]) for name, tensor in model.state_dict().items())
    again = fresh()
    assert train(again, batches(), Interrupting(), config, folder=tmp_path, title="test", score=score) == history
    assert same(model, again)


def test_patience_needs_something_to_judge_by(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="patience needs something to judge epochs by"):
        train(fresh(), batches(), Interrupting(), CONFIG.replace(patience=1), folder=tmp_path, title="test")


def test_dot_and_fp16_exclude_each_other(tmp_path: Path) -> None:
    config = CONFIG.replace(optimizer="dot", precision="fp16")
    with pytest.raises(UsageError, match="choose precision bf16 or fp32"):
        train(fresh(), batches(), Interrupting(), config, folder=tmp_path, title="test")


def test_the_loss_scale_is_kept_with_the_training(tmp_path: Path) -> None:
    run(tmp_path, CONFIG.replace(epochs=1, precision="fp16"))
    state = resume.read(tmp_path)
    assert state is not None
    assert state.scaler is not None
    assert state.scaler["scale"] > 1
    assert state.scaler["_growth_tracker"] == 6
