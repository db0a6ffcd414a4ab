"""When the loop goes round once more, and which of its rounds is kept."""

from __future__ import annotations

from math import log
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from edgekd.artifact import ArtifactSet
from edgekd.budget import OperatingPoint
from edgekd.figure import Figure, Origin
from edgekd.pipeline import closing, loop
from edgekd.pipeline.confirmation import Confirmed
from edgekd.pipeline.turn import Turn, aim_after, correction_after
from edgekd.profile import EngineRecord, Profile
from edgekd.report import Check, Round, Status, Verdict
from edgekd.stage import Context

CODES: dict[Status, int] = {"met": 0, "missed": 3, "not trustworthy": 5}


def turn(
    status: Status = "met",
    *,
    ratio: float = 0.48,
    correction: float = 1.0,
    origin: Origin = "device",
    accuracy: float | None = None,
    ms: float = 1.0,
    upper: float | None = None,
) -> Turn:
    """Return a round that measured `ratio` of the teacher's latency, where half of it is allowed."""
    figure = Figure(name="latency_ratio", value=ratio, origin=origin, samples=22, upper=upper)
    held = Check(limit_name="latency_ratio", limit=0.5, figure=figure, status=status, sentence="p50 is")
    verdict = Verdict(status=status, exit_code=CODES[status], engine="pruned/fp32/onnxruntime", checks=(held,))
    right = () if accuracy is None else (Figure(name="accuracy_percent", value=accuracy, origin="host", samples=700),)
    chosen = EngineRecord(
        network="pruned",
        scheme="fp32",
        runtime="onnxruntime",
        digest="0",
        operating_point=OperatingPoint(),
        figures=right,
    )
    profile = Profile(target="host", origin=origin, records=(chosen,))
    told = Round(number=1, verdict=verdict, predicted_ms=1.0, measured_ms=ms, correction=correction)
    return Turn(ArtifactSet(), profile, chosen, Confirmed(chosen, profile), verdict, told)


@pytest.mark.parametrize(
    ("given", "final"),
    [
        ({"status": "met"}, True),
        ({"status": "met", "correction": 1.2}, True),  # slower than predicted, and still within the limit
        ({"status": "met", "ratio": 0.4, "correction": 0.8}, False),  # a larger network is within the limit
        ({"status": "met", "ratio": 0.4, "correction": 0.98}, True),  # as predicted: the space has nothing in between
        ({"status": "met", "ratio": 0.476, "correction": 0.8}, True),  # close enough to the limit
        ({"status": "missed", "ratio": 0.6, "correction": 1.2}, False),
        ({"status": "missed", "ratio": 0.6, "correction": 1.01}, True),  # would choose the same again
        ({"status": "not trustworthy", "correction": 0.9}, False),
        ({"status": "missed", "ratio": 0.6, "correction": 1.2, "origin": "host"}, True),
    ],
    ids=lambda value: "-".join(map(str, value.values())) if isinstance(value, dict) else str(value),
)
def test_another_round_follows_only_where_it_can_do_better(given: dict[str, Any], final: bool) -> None:
    assert turn(**given).is_final(1.0) is final


def test_what_counts_is_how_far_this_round_moved_the_correction() -> None:
    assert turn("missed", ratio=0.6, correction=1.2).is_final(1.2)
    assert not turn("met", ratio=0.4, correction=1.2).is_final(1.5)


def test_the_best_round_met_the_budget_and_of_those_is_the_most_accurate() -> None:
    fast = turn(ratio=0.3, accuracy=90.0, ms=0.6)
    right = turn(ratio=0.48, accuracy=92.0, ms=1.0)
    slow = turn(ratio=0.49, accuracy=92.0, ms=1.1)
    missed = turn("missed", ratio=0.6, accuracy=99.0, ms=0.5)
    unsure = turn("not trustworthy", ratio=0.5, accuracy=99.0, ms=0.4)
    assert sorted([missed, fast, unsure, slow, right], key=lambda one: one.rank) == [right, slow, fast, unsure, missed]


@pytest.mark.parametrize(
    ("given", "aim"),
    [
        ({"ratio": 0.4, "upper": 0.42}, 0.4 / 0.42),
        ({"ratio": 0.4, "upper": 0.401}, 0.97),  # sharper than any prediction
        ({"ratio": 0.4}, 0.0),
        ({"ratio": 0.4, "upper": 0.42, "origin": "host"}, 0.0),
    ],
    ids=["bounds", "sharp", "no-bounds", "another-machine"],
)
def test_the_next_round_aims_as_close_as_this_one_was_measured(given: dict[str, Any], aim: float) -> None:
    assert aim_after([turn(**given)]) == pytest.approx(aim)


def test_the_loop_hands_on_what_a_round_has_learned_and_closes_with_the_best(monkeypatch: pytest.MonkeyPatch) -> None:
    judged = [
        turn("missed", ratio=0.6, correction=1.2, upper=0.62),
        turn(ratio=0.4, accuracy=92.0, correction=0.9, upper=0.404),
        turn(ratio=0.47, accuracy=91.0, correction=1.1, upper=0.48),
        turn(),
    ]
    asked, closed = SimpleNamespace(recipe=SimpleNamespace(feedback_rounds=5)), []
    runner = SimpleNamespace(context=Context(Path(), Path(), Path(), asked.recipe, asked.recipe, origin_is_device=True))
    contexts: list[Context] = []
    monkeypatch.setattr(loop, "_judge", lambda _, context: contexts.append(context) or judged[len(contexts) - 1])
    monkeypatch.setattr(closing, "close", lambda *given: closed.extend(given))
    loop._run(asked, [], runner)
    between = 0.9 * (1.2 / 0.9) ** (log(0.49 / 0.4) / log(0.6 / 0.4))
    assert [(one.round, one.correction, one.aim) for one in contexts] == [
        (0, 1.0, 0.0),
        (1, 1.2, pytest.approx(0.6 / 0.62)),
        (2, pytest.approx(between), 0.98),
    ]
    _, _, rounds, *best = closed
    assert [told.kept for told in rounds] == [False, True, False]
    assert [told.correction for told in rounds] == [1.2, 0.9, 1.1]
    assert best[1] is judged[1].profile


@pytest.mark.parametrize("slope", [0.7, 1.0, 1.3], ids=["flat", "proportional", "steep"])
def test_between_rounds_on_both_sides_a_power_law_is_met_at_once(slope: float) -> None:
    """What is measured goes by a power of what is predicted: the third round aims at 0.98 of the limit and hits it."""

    def measured(predicted: float) -> Turn:
        share = 1.1 * predicted**slope
        return turn(ratio=0.5 * share, correction=share / predicted, upper=0.5 * share)

    rounds = [measured(0.6), measured(1.2)]
    assert aim_after(rounds) == 0.98
    assert measured(0.98 / correction_after(rounds)).share == pytest.approx(0.98)
    assert correction_after(rounds[:1]) == rounds[0].told.correction
    assert correction_after(rounds[1:]) == rounds[1].told.correction
    assert (aim_after([]), correction_after([])) == (0.0, 1.0)


def test_the_two_rounds_nearest_to_the_limit_count_and_figures_of_another_machine_do_not() -> None:
    far, near = turn(ratio=0.2, correction=3.0), turn(ratio=0.45, correction=0.9, upper=0.45)
    above = turn(ratio=0.55, correction=1.0, upper=0.55)
    assert correction_after([far, above, near]) == correction_after([above, near])
    assert 0.9 < correction_after([above, near]) < 1.0
    assert correction_after([above, turn(ratio=0.45, correction=0.9, origin="host")]) == 0.9


@pytest.mark.parametrize("upper", [0.8, 0.6, 0.501], ids=["below both", "below one", "between"])
def test_however_unsharp_the_last_round_was_no_correction_lies_beyond_the_two(upper: float) -> None:
    below = turn("not trustworthy", ratio=0.48, correction=0.9)
    above = turn("not trustworthy", ratio=0.49, correction=1.0, upper=upper)
    assert 0.9 <= correction_after([below, above]) <= 1.0
    sharp = turn("not trustworthy", ratio=0.484, correction=0.9, upper=0.484)
    assert 0.9 <= correction_after([turn(ratio=0.4856, correction=1.0), sharp]) <= 1.0


def test_of_rounds_that_missed_the_fastest_is_the_best() -> None:
    accurate = turn("missed", ratio=0.7, accuracy=99.0, ms=1.4)
    fast = turn("missed", ratio=0.6, accuracy=90.0, ms=1.2)
    assert min(accurate, fast, key=lambda one: one.rank) is fast
