from __future__ import annotations

import numpy as np
import pytest

from edgekd import target as targets
from edgekd.predict.features import FEATURES
from edgekd.predict.fit import Fit
from edgekd.predict.predictor import Predictor
from edgekd.recipe import ModelSpec
from edgekd.search.candidate import Candidate, candidate
from edgekd.search.choice import Judge, beyond_doubt

SHAPE = (1, 16, 16)


def resnet(depth: int, *channels: int) -> Candidate:
    spec = ModelSpec(name="resnet", options={"depth": depth, "channels": list(channels)})
    return candidate(f"r{depth}", spec, SHAPE, 4)


CHOICES = [resnet(8, 16, 16, 16), resnet(8, 16, 32, 64), resnet(14, 16, 16, 16), resnet(14, 32, 64, 128)]
TEACHER = resnet(20, 32, 64, 128)


def judge(limit_ms: float | None, *, speedup: float = 1.0, correction: float = 1.0, margin: float = 1.0) -> Judge:
    """Predict 1 ms per million multiplications in fp32, a quarter of that in integers."""
    coefficients = np.array([1e-6 * (name == "dense_macs") for name in FEATURES])
    fits = {
        ("fp32", "openvino"): Fit(coefficients, 0.1, 4),
        ("u8w8", "openvino"): Fit(coefficients / 4, 0.1, 4),
    }
    predictor = Predictor(fits, targets.load("x86-vnni"), 90)
    return Judge(predictor, ["fp32", "u8w8"], 16, limit_ms, correction, speedup, margin)


def ms(choice: Candidate) -> float:
    return judge(None).row("chosen", choice).latency.value


def test_the_largest_that_fits_in_its_fastest_arithmetic() -> None:
    row = judge(ms(CHOICES[2])).choose(CHOICES)
    assert row.spec == CHOICES[2].spec
    assert (row.scheme, row.fits) == ("u8w8", True)


def test_margin_correction_and_speedup_move_the_limit() -> None:
    limit = ms(CHOICES[1]) * 1.01
    assert judge(limit).choose(CHOICES).spec == CHOICES[1].spec
    assert judge(limit, margin=0.9).choose(CHOICES).spec == CHOICES[0].spec
    assert judge(limit, correction=1.1).choose(CHOICES).spec == CHOICES[0].spec
    assert judge(ms(CHOICES[3]) / 1.9, speedup=2).choose(CHOICES).spec == CHOICES[3].spec


def test_a_network_of_one_step_everywhere_cannot_be_pruned() -> None:
    """CHOICES[2] is narrow already: a promised speed-up does not make it fit."""
    limit = ms(CHOICES[2]) / 1.2
    assert judge(limit, speedup=1.5).choose(CHOICES).spec == CHOICES[1].spec
    assert judge(limit, speedup=1.5).row("", CHOICES[2]).pruned_ms == pytest.approx(ms(CHOICES[2]))


def test_out_of_reach_is_told_and_the_smallest_is_taken() -> None:
    told = judge(ms(CHOICES[0]) / 10)
    row = told.choose(CHOICES)
    assert row.spec == CHOICES[0].spec
    assert not row.fits
    assert not told.feasibility(CHOICES, TEACHER, row).reachable


def test_the_least_is_what_pruning_can_leave_and_corrected() -> None:
    whole, pruned = (judge(None).least(CHOICES[3], pruned=pruned) for pruned in (False, True))
    assert whole.value == pytest.approx(ms(CHOICES[3]))
    assert pruned.value < whole.value / 4
    assert judge(None, correction=2.0).least(CHOICES[3], pruned=True).value == pytest.approx(2 * pruned.value)


def test_beyond_doubt_is_below_the_bounds_and_never_zero() -> None:
    sure = judge(None).least(CHOICES[0], pruned=False)
    assert sure.lower is not None
    assert 0 < beyond_doubt(sure) < sure.lower
    vague = sure.replace(lower=0, upper=5 * sure.value)
    assert beyond_doubt(vague) == pytest.approx(sure.value / 25)


def test_the_table_shows_the_corners_with_the_word_predicted() -> None:
    told = judge(1.0)
    table = told.feasibility(CHOICES, TEACHER, told.choose(CHOICES))
    assert [row.role for row in table.rows] == ["smallest", "middle", "teacher", "chosen"]
    assert table.rows[2].latency.value > table.rows[0].latency.value
    assert table.text().count("predicted") == 4
    assert "limit 1 ms" in table.text()
