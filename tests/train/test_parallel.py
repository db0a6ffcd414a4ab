"""Two processes train as one would: real processes, gloo, the same losses and weights."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from edgekd.errors import UsageError
from edgekd.train.answer import Answer
from edgekd.train.batches import Batch
from edgekd.train.parallel import Peers, plain

ROOT = Path(__file__).resolve().parents[2]


Told = dict[str, Any]


def together(folder: Path, size: int, *cases: str) -> list[dict[str, Told]]:
    """Run tests.train.peer in so many processes, as torchrun would start them, and return what each tells by case."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    started = []
    for rank in range(size):
        environment = os.environ | {
            "RANK": str(rank),
            "WORLD_SIZE": str(size),
            "LOCAL_RANK": str(rank),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": port,
            "OMP_NUM_THREADS": "1",
        }
        command = [sys.executable, "-m", "tests.train.peer", str(folder), *cases]
        started.append(
            subprocess.Popen(
                command, cwd=ROOT, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
            )
        )
    told = []
    for process in started:
        out, err = process.communicate(timeout=240)
        assert process.returncode == 0, err
        told.append(json.loads(out.splitlines()[-1]))
    return told


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Told]:
    """What one process tells of every training."""
    (told,) = together(tmp_path_factory.mktemp("alone"), 1, "train:sgd", "train:dot", "tapped")
    return told


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Told]]:
    """What each of two processes tells of the same trainings, and of one that cannot go on."""
    return together(tmp_path_factory.mktemp("both"), 2, "train:sgd", "train:dot", "tapped", "dead")


@pytest.mark.parametrize("optimizer", ["sgd", "dot"])
def test_two_processes_have_the_loss_curve_of_one(
    alone: dict[str, Told], both: list[dict[str, Told]], optimizer: str
) -> None:
    one, first, second = (told[f"train:{optimizer}"] for told in (alone, *both))
    assert first["losses"] == second["losses"]
    assert np.allclose(first["losses"], one["losses"], atol=1e-4)
    assert len(one["steps"]) == 24
    assert np.allclose(first["steps"], one["steps"], atol=1e-4)
    assert one["losses"][-1] < one["losses"][0]
    assert np.allclose(first["weights"], one["weights"], atol=1e-4)
    assert first["weights"] == second["weights"]


def test_a_dead_loss_is_noticed_in_every_process(both: list[dict[str, Told]]) -> None:
    """DDP's wrapper renames the modules; a public distiller trained for months beside that with a loss of zero."""
    assert len(both) == 2
    for told in both:
        assert "distillation loss 'dead' is dead" in told["dead"]["error"]


def test_a_tapped_module_keeps_its_path_inside_the_wrapper(alone: dict[str, Told], both: list[dict[str, Told]]) -> None:
    one, first, second = (told["tapped"] for told in (alone, *both))
    assert np.allclose(first["losses"], one["losses"], atol=1e-4)
    assert first["beside"] == second["beside"]
    assert np.allclose(first["beside"], one["beside"], atol=1e-4)


def test_a_killed_training_goes_on_in_both(both: list[dict[str, Told]], tmp_path: Path) -> None:
    undisturbed = [told["train:sgd"] for told in both]
    killed = together(tmp_path, 2, "train:sgd:2")[0]["train:sgd:2"]
    assert killed["losses"] == undisturbed[0]["losses"][:2]
    (tmp_path / "train-sgd-2").rename(tmp_path / "train-sgd")
    resumed = [told["train:sgd"] for told in together(tmp_path, 2, "train:sgd")]
    assert resumed[0]["losses"] == undisturbed[0]["losses"]
    assert resumed[1]["weights"] == undisturbed[0]["weights"]


def test_teacher_store_and_student_are_those_of_one_process(tmp_path: Path) -> None:
    (one,) = together(tmp_path / "1", 1, "teach")
    first, second = together(tmp_path / "2", 2, "teach")
    assert first == second
    assert np.allclose(first["teach"]["losses"], one["teach"]["losses"], atol=1e-3)  # teachers differ by rounding, too
    shards = [len(list((tmp_path / str(size)).rglob("shard.json"))) for size in (1, 2)]
    assert shards[0] == shards[1] > 0


def test_the_command_says_that_it_is_one_process(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "edgekd.cli.main", "compress", "--smoke", "--run-folder", str(tmp_path / "run")]
    environment = os.environ | {"WORLD_SIZE": "2", "RANK": "0"}
    answer = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert answer.returncode == 2
    assert "torchrun has started several; start it without" in answer.stderr
    assert not (tmp_path / "run").exists()


def test_samples_are_dealt_out_once_and_evenly() -> None:
    batch = Batch(torch.arange(6.0)[:, None], torch.arange(6), Answer(torch.arange(12.0).view(6, 2)))
    shares = [Peers(rank, 3).share(batch) for rank in range(3)]
    assert sorted(label for share in shares for label in share.labels.tolist()) == list(range(6))
    for share in shares:
        assert share.teacher is not None
        assert torch.equal(share.inputs[:, 0], share.labels.float())
        assert torch.equal(share.teacher.logits[:, 0], 2 * share.labels.float())


def test_a_batch_that_cannot_be_dealt_out_is_refused() -> None:
    with pytest.raises(UsageError, match="a batch of 5 cannot be dealt out evenly to 2 processes"):
        Peers(0, 2).share(Batch(torch.zeros(5, 1), torch.zeros(5)))


def test_the_network_inside_a_wrapper_is_found() -> None:
    network = nn.Linear(2, 2)
    assert plain(network) is network
    assert plain(torch.compile(network)) is network
