"""Contract suite: every schedule ends with the student, and names no teacher that is not there."""

from __future__ import annotations

from typing import Any

import pytest

from edgekd.distill.schedule import SCHEDULES, STUDENT, Phase, create
from edgekd.distill.teach import TeachConfig

OPTIONS: dict[str, dict[str, Any]] = {
    "rows": {"rows": [{"epochs": 2, "losses": {"rkd": {}}, "label_weight": 0}, {"epochs": 3}]},
    "assistant": {"assistants": [{"name": "resnet"}, {"name": "resnet", "options": {"depth": 8}}]},
    "generations": {"count": 3},
}
CONFIG = TeachConfig(epochs=5)


def phases(name: str, **options: Any) -> list[Phase]:
    return create(name, {**OPTIONS.get(name, {}), **options}).phases(CONFIG)


@pytest.mark.parametrize("name", SCHEDULES.names())
def test_it_ends_with_the_student_and_every_training_is_one_that_can_be_run(name: str) -> None:
    found = phases(name)
    assert found[-1].network == STUDENT
    assert found[-1].model is None
    assert not found[0].goes_on
    known = {"teacher"}
    for phase in found:
        config = TeachConfig.model_validate({**CONFIG.plain(), **phase.changes})
        assert set(config.teachers) <= known
        known.add(phase.network)


@pytest.mark.parametrize("name", SCHEDULES.names())
def test_what_is_experimental_says_so_where_schedules_are_listed(name: str) -> None:
    assert SCHEDULES.get(name).experimental == SCHEDULES.help(name).endswith("; experimental.")


def test_rows_go_on_from_each_other_with_options_of_their_own() -> None:
    first, second = phases("rows")
    assert (first.goes_on, second.goes_on) == (False, True)
    assert first.changes == {"epochs": 2, "losses": {"rkd": {}}, "label_weight": 0}
    assert second.changes == {"epochs": 3}


def test_assistants_pass_on_what_they_were_taught() -> None:
    found = phases("assistant", epochs=7)
    assert [phase.changes["teachers"] for phase in found] == [["teacher"], ["assistant-1"], ["assistant-2"]]
    assert [phase.changes.get("epochs") for phase in found] == [7, 7, None]
    assert found[0].model is not None


def test_generations_are_taught_by_the_last_or_by_all() -> None:
    last = [phase.changes["teachers"] for phase in phases("generations")]
    assert last == [["teacher"], ["generation-1"], ["generation-2"]]
    every = [phase.changes["teachers"] for phase in phases("generations", ensemble=True)]
    assert every == [["teacher"], ["generation-1"], ["generation-1", "generation-2"]]
