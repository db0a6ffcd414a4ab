from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from edgekd.pipeline.subject import digest_of_subject
from tests.distill.tiny_run import context
from tests.models import settled

FACTORY = "tests.models:ResidualCnn"


def test_it_is_the_same_for_the_same_and_leaves_the_random_numbers_alone(tmp_path: Path) -> None:
    before = torch.get_rng_state()
    assert digest_of_subject(context(tmp_path)) == digest_of_subject(context(tmp_path))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    "changes",
    [
        {"model": {"factory": FACTORY, "options": {"channels": 8}}},
        {"model": {"factory": "tests.models:DepthwiseCnn"}},
        {"data": {"factory": "tests.distill.tiny_run:quadrants", "options": {"samples": 128}}},
    ],
    ids=["sizes", "layers", "data"],
)
def test_another_network_or_other_data_are_another_subject(changes: dict[str, Any], tmp_path: Path) -> None:
    assert digest_of_subject(context(tmp_path, **changes)) != digest_of_subject(context(tmp_path))


def test_other_weights_under_the_same_name_are_another_subject(tmp_path: Path) -> None:
    found = set()
    for seed in (0, 1):
        save_file(settled("residual", seed).state_dict(), tmp_path / "w.safetensors")
        model = {"factory": FACTORY, "weights": str(tmp_path / "w.safetensors")}
        found.add(digest_of_subject(context(tmp_path, model=model)))
    assert len(found) == 2
