from __future__ import annotations

import pytest

from edgekd.errors import BudgetError, ExitCode, TargetError
from edgekd.pipeline.summary import Outcome, Summary, worst


@pytest.mark.parametrize(
    ("codes", "code"),
    [
        ((0, 0), 0),
        ((0, 3), 3),
        ((3, 4), 4),
        ((4, 5, 3), 5),
        ((5, 6), 6),
        ((6, 7), 7),
        ((8, 7), 8),
        ((8, 2, 6), 2),
        ((2, 1), 1),
    ],
)
def test_what_stopped_a_target_comes_before_any_verdict(codes: tuple[int, ...], code: int) -> None:
    assert worst(codes) == worst(reversed(codes)) == code


def test_every_exit_code_of_a_target_has_a_place() -> None:
    ended = set(ExitCode) - {ExitCode.INTERRUPTED, ExitCode.TERMINATED}
    assert {worst([code]) for code in ended} == ended


def test_a_target_that_failed_says_why_in_one_line() -> None:
    told = Summary.of(
        "mine",
        [
            Outcome.of_error("jetson", "jetson", TargetError("no answer;\ntry again")),
            Outcome.of_error("my-board", "board.yaml", BudgetError("out of reach")),
        ],
    )
    assert told.exit_code == 6
    assert told.lines() == [
        "jetson: failed: no answer; try again",
        "my-board: failed: out of reach",
        "failed: jetson, my-board; exit code 6",
    ]
