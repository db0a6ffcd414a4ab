from __future__ import annotations

from edgekd.measure.decided import decided
from edgekd.measure.series import Series
from tests.gate.profiles import record

SECONDS_A_PROCESS = 1.0


class Taken:
    """Stands in for measuring: remembers what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, float | None]] = []

    def __call__(self, processes: int, limit_s: float | None) -> Series:
        self.asked.append((processes, limit_s))
        engine = record("pruned/fp32/openvino", 1.0, processes=processes)
        return Series([engine], {}, seconds=processes * SECONDS_A_PROCESS)


def test_what_decides_at_the_first_look_is_not_extended() -> None:
    taken = Taken()
    found = decided(taken, lambda _: False, 60)
    assert taken.asked == [(11, 60)]
    assert len(found.records[0].per_process["look"]) == 11


def test_what_is_contested_goes_on_as_long_as_time_is_left() -> None:
    taken = Taken()
    found = decided(taken, lambda _: True, 60)
    counts = [count for count, _ in taken.asked]
    assert counts == sorted(set(counts))
    assert counts[0] == 11
    assert 40 < counts[-1] <= 60
    assert [limit for _, limit in taken.asked] == [60] + [None] * (len(counts) - 1)
    assert len(found.records[0].per_process["look"]) == counts[-1]


def test_it_ends_as_soon_as_a_look_decides() -> None:
    taken = Taken()
    decided(taken, lambda found: len(found.records[0].per_process["look"]) < 20, 1000)
    assert [count for count, _ in taken.asked] == [11, 22]


def test_without_leave_to_extend_there_is_one_look() -> None:
    taken = Taken()
    decided(taken, lambda _: True, 60, first=3, extend=False)
    assert taken.asked == [(3, 60)]
