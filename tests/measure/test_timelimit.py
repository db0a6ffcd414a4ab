from __future__ import annotations

import pytest

from edgekd.errors import MeasurementError
from edgekd.measure.timelimit import TimeLimit


def test_what_fits_is_left_alone() -> None:
    TimeLimit(60, 11, 2, 90).refuse_late(1.0, 0.02)  # 11 x (1 + 8 x 0.02) s


def test_what_does_not_fit_names_seconds_and_both_ways_out() -> None:
    with pytest.raises(MeasurementError) as raised:
        TimeLimit(60, 11, 2, 99.9).refuse_late(1.0, 0.02)
    said = str(raised.value)
    assert "p99.9 needs 6640 runs in each of 11 processes" in said
    assert "for 2 engines about 194 s, but there are 60 s left" in said
    assert "allow 233 s, or judge p99, which fits" in said


def test_where_no_percentile_fits_none_is_offered() -> None:
    with pytest.raises(MeasurementError, match=r"allow \d+ s$"):
        TimeLimit(5, 11, 2, 90).refuse_late(1.0, 0.02)
