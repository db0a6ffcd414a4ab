"""One round of the loop as it ended: whether another could do better, at what it would aim, and which is the best."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import log

from edgekd.artifact import ArtifactSet
from edgekd.pipeline.confirmation import Confirmed
from edgekd.profile import EngineRecord, Profile
from edgekd.report import Check, Round, Verdict

_SAME_CHOICE = 0.03
"""A correction that moved by less chooses the same network again, so another round would only repeat this one."""
_ROOM = 0.05
"""Share of a latency limit that an engine may leave unused, where a wrong prediction is the reason."""
_CLOSEST = 0.97
"""Share of a latency limit that is aimed at at most: a corrected prediction is still off by a per cent or two."""
_CLOSEST_BETWEEN = 0.98
"""The same where rounds lie on both sides of the limit, and a correction between theirs is off by half of that."""
_ORDER = {"met": 0, "not trustworthy": 1, "missed": 2}


@dataclass(frozen=True)
class Turn:
    """One round of the loop, judged on the validation split."""

    artifacts: ArtifactSet
    profile: Profile
    chosen: EngineRecord
    confirmed: Confirmed
    verdict: Verdict
    told: Round

    def is_final(self, correction: float) -> bool:
        """Say whether another round can do no better than this one, which corrected its predictions by `correction`.

        What another machine measured corrects nothing. A budget that is met ends the loop, unless the network was
        predicted to be slower than it is and a larger one is within the limit.
        """
        moved = self.told.correction / correction - 1
        if self.profile.origin != "device" or abs(moved) < _SAME_CHOICE:
            return True
        return self.verdict.status == "met" and not (moved < 0 and _has_room(self.verdict))

    @property
    def share(self) -> float:
        """Return the measured latency as a share of the tightest limit on it; 0 without one."""
        return max((held.figure.value / held.limit for held in _timed(self.verdict)), default=0.0)

    @property
    def sharpness(self) -> float:
        """Return the share of a latency limit at which a network measured as sharply as this one is still within it.

        0 where this round says nothing of it: no limit, no bounds, or figures of another machine.
        """
        bounded = [held.figure for held in _timed(self.verdict) if held.figure.upper]
        if self.profile.origin != "device" or not bounded:
            return 0.0
        return min(figure.value / (figure.upper or figure.value) for figure in bounded)

    @property
    def rank(self) -> tuple[int, float, float]:
        """Order rounds: a better verdict first, of those that met the budget the more accurate, then the faster one."""
        status, accuracy = self.verdict.status, self.chosen.figure("accuracy_percent")
        right = accuracy.value if accuracy is not None and status == "met" else 0.0
        return _ORDER[status], -right, self.told.measured_ms


def aim_after(turns: Sequence[Turn]) -> float:
    """Return the share of a latency limit that the next round may aim at; 0 where nothing is known of it."""
    closest = _CLOSEST if _around(turns) is None else _CLOSEST_BETWEEN
    return min(closest, turns[-1].sharpness) if turns else 0.0


def correction_after(turns: Sequence[Turn]) -> float:
    """Return by what the next round multiplies predictions: measured over predicted latency of the last one.

    Once rounds lie on both sides of the limit it is that of a network in between: a prediction is off differently for
    different networks, so the last one alone would swing past the limit again. The two nearest are joined by a line
    through logarithms of predicted and measured latency (regula falsi), and not beyond them: where the last one was
    measured so bluntly that the aim lies below both, it is the lower one's.
    """
    around, aim = _around(turns), aim_after(turns)
    if around is None or not aim:
        return turns[-1].told.correction if turns else 1.0
    below, above = around
    along = min(1.0, max(0.0, log(aim / below.share) / log(above.share / below.share)))
    return float(below.told.correction ** (1 - along) * above.told.correction**along)


def _around(turns: Sequence[Turn]) -> tuple[Turn, Turn] | None:
    """Return the nearest round below the limit and the nearest above; one so close that it is neither counts there."""
    below = [turn for turn in turns if 0 < turn.share < _CLOSEST]
    above = [turn for turn in turns if turn.share >= _CLOSEST]
    if not below or not above:
        return None
    return max(below, key=lambda turn: turn.share), min(above, key=lambda turn: turn.share)


def _timed(verdict: Verdict) -> list[Check]:
    return [held for held in verdict.checks if held.limit_name in {"latency_ms", "latency_ratio"}]


def _has_room(verdict: Verdict) -> bool:
    """Say whether every limit on latency leaves room for a larger network."""
    timed = _timed(verdict)
    return bool(timed) and all(held.figure.value < (1 - _ROOM) * held.limit for held in timed)
