from __future__ import annotations

import numpy as np
import pytest

from edgekd.export.parity import Limits, compare, relative_difference

REFERENCE = np.random.default_rng(0).normal(0, 4, (50, 10)).astype(np.float32)
SPREAD = float(np.ptp(REFERENCE))


def test_equal_logits_have_no_fault() -> None:
    parity = compare(REFERENCE, REFERENCE.copy(), Limits(), rounded=False)
    assert (parity.error, parity.mean_error, parity.agreement_percent, parity.faults) == (0, 0, 100, ())


@pytest.mark.parametrize(("error", "integer", "right"), [(9e-4, False, True), (2e-3, False, False), (2e-3, True, True)])
def test_a_float_engine_must_be_closer_than_an_integer_one(error: float, integer: bool, right: bool) -> None:
    outputs = REFERENCE.copy()
    outputs[3, 4] += error * SPREAD
    parity = compare(REFERENCE, outputs, Limits(), rounded=integer)
    assert parity.error == pytest.approx(error, rel=1e-3)
    assert (parity.faults == ()) is right


def test_many_small_errors_are_found_by_their_mean() -> None:
    parity = compare(REFERENCE, REFERENCE + np.float32(0.02 * SPREAD), Limits(), rounded=True)
    assert len(parity.faults) == 1
    assert "mean error" in parity.faults[0]


def test_one_tie_may_fall_the_other_way_but_not_two() -> None:
    limits = Limits(integer_error=10, integer_mean_error=10, integer_agreement_percent=100)
    outputs = REFERENCE.copy()
    for row in range(2):
        assert compare(REFERENCE, outputs, limits, rounded=True).faults == ()
        outputs[row] = -outputs[row]
    assert "best class" in compare(REFERENCE, outputs, limits, rounded=True).faults[0]


@pytest.mark.parametrize("spoilt", [REFERENCE[:, :9], np.full_like(REFERENCE, np.nan)], ids=["shape", "nan"])
def test_what_cannot_be_compared_is_a_fault(spoilt: np.ndarray) -> None:
    assert len(compare(REFERENCE, spoilt, Limits(), rounded=True).faults) == 1


def test_difference_of_constants_is_relative_to_their_magnitude() -> None:
    constant = np.full((2, 2), 4, np.float32)
    assert relative_difference(constant, constant + 1).max() == 0.25
