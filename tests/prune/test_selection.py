from __future__ import annotations

import re
from pathlib import Path

import pytest

from edgekd.errors import UsageError
from edgekd.models.kernels import kernels
from edgekd.prune.config import PruneConfig
from edgekd.prune.cost import FilledMacs
from edgekd.prune.schedule import Outcome, Schedule
from edgekd.prune.selection import refuse_unfitting, selected
from edgekd.prune.trial import prunable
from tests.distill.tiny_run import quadrants
from tests.models import INPUT_SHAPE
from tests.prune.networks import network

COST = FilledMacs(4)


def test_patterns_choose_groups_by_any_of_their_layers() -> None:
    found = prunable(network("residual"), INPUT_SHAPE)
    assert set(selected(found, ["*"], ["first"]).widths) == {"second"}, "the stream goes through 'first'"
    only = selected(found, ["shortcut_norm"], [])
    assert set(only.widths) == {"second"}
    assert only.fixed["stem"] == "not included by the recipe"
    assert selected(found, ["*"], ["second"]).fixed["second"] == "excluded by the recipe"


def test_a_pattern_that_fits_nothing_is_named() -> None:
    found = prunable(network("resnet"), INPUT_SHAPE)
    refuse_unfitting(found, ["*"], ["blocks.1*"])
    sentence = "stages.prune.exclude: the pattern 'block.1*' fits no layer that could be cut; did you mean 'blocks.1"
    with pytest.raises(UsageError, match=re.escape(sentence)):
        refuse_unfitting(found, ["*"], ["block.1*"])


def run(folder: Path, **options: object) -> Outcome:
    model = network("resnet")
    whole = COST.of(kernels(model, INPUT_SHAPE))
    config = PruneConfig(criterion="magnitude", samples=32, **options)  # type: ignore[arg-type]
    schedule = Schedule(config, quadrants(), COST, 4, seed=0)
    return schedule.run(model, whole, 0.5 * whole, folder, lambda model, folder, number: None)


def test_blocks_are_taken_out_first_and_again_when_a_run_resumes(tmp_path: Path) -> None:
    outcome = run(tmp_path, blocks=2, exclude=("head",))
    taken = outcome.notes["blocks"].split(", ")
    assert len(taken) == 2
    assert not any(kernel.name.startswith(tuple(taken)) for kernel in kernels(outcome.model, INPUT_SHAPE))
    record = tmp_path / "blocks.json"
    before = record.read_text()
    again = run(tmp_path, blocks=2, exclude=("head",))
    assert record.read_text() == before
    assert again.notes == outcome.notes


def test_more_blocks_than_there_are_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"9 residual blocks cannot be taken out, the network has \d that may go: "):
        run(tmp_path, blocks=9)
