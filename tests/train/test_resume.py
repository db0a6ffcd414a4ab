"""The state between two epochs survives kills and names damage."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from edgekd.errors import UsageError
from edgekd.train import resume
from edgekd.train.optimizer import LoopConfig, optimizer
from edgekd.train.resume import History, Parts, State
from tests.models import INPUT_SHAPE, settled

STATE = State(fingerprint="f", history=History(losses=(0.5, 0.25), images=20))


def stepped(kind: str = "sgd") -> tuple[nn.Module, torch.optim.Optimizer]:
    model = settled("residual").to(memory_format=torch.channels_last)
    made = optimizer(model, LoopConfig(optimizer=kind))
    model(torch.randn(4, *INPUT_SHAPE)).sum().backward()
    made.step()
    return model, made


@pytest.mark.parametrize("kind", ["sgd", "adamw"])
def test_everything_comes_back_in_the_same_memory_layout(tmp_path: Path, kind: str) -> None:
    model, made = stepped(kind)
    resume.write(tmp_path, STATE, Parts(model, made))
    random = torch.rand(3)
    other = settled("residual", seed=1).to(memory_format=torch.channels_last)
    other_made = optimizer(other, LoopConfig(optimizer=kind))
    assert resume.read(tmp_path) == STATE
    resume.restore(tmp_path, Parts(other, other_made))
    assert torch.equal(torch.rand(3), random)
    for first, second in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.equal(first, second)
        for name, value in made.state[first].items():
            assert torch.equal(other_made.state[second][name], value)
            if value.dim() == 4:
                assert other_made.state[second][name].is_contiguous(memory_format=torch.channels_last)


def test_nothing_is_there_before_the_first_epoch(tmp_path: Path) -> None:
    assert resume.read(tmp_path / "absent") is None


def test_a_write_that_is_cut_off_leaves_the_old_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, made = stepped()
    resume.write(tmp_path, STATE, Parts(model, made))

    def cut(handle: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("edgekd.disk.os.fsync", cut)
    with pytest.raises(KeyboardInterrupt):
        resume.write(tmp_path, STATE.replace(fingerprint="later"), Parts(model, made))
    assert resume.read(tmp_path) == STATE


@pytest.mark.parametrize("keep", [0, 5, 40])
def test_a_damaged_file_is_named_with_what_to_do(tmp_path: Path, keep: int) -> None:
    resume.write(tmp_path, STATE, Parts(*stepped()))
    path = tmp_path / "epoch.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(UsageError, match=r"damaged training state .* delete the file"):
        resume.read(tmp_path)
