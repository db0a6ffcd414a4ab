from __future__ import annotations

import pytest

from edgekd.report import Check
from tests.gate.reports import check, report

DOUBTED = check("latency_ratio", 1.0, 1.0, "not trustworthy")


@pytest.mark.parametrize(
    ("checks", "code"),
    [
        ((DOUBTED,), 0),
        ((DOUBTED, check("size_mb", 1, 2, "missed")), 3),
        ((DOUBTED, check("size_mb", 1, 2, "missed"), check("accuracy_drop", 1, 2, "missed")), 4),
        ((check("latency_ms", 1, 2, "missed"),), 0),  # missed, but something casts doubt on every time of this series
    ],
)
def test_neutral_forgives_doubt_and_nothing_that_is_certain(checks: tuple[Check, ...], code: int) -> None:
    found = report(*checks, status="not trustworthy", on_untrusted="neutral")
    assert found.exit_code == code
    assert found.verdict.exit_code == 5


@pytest.mark.parametrize("policy", ["fail", "retry"])
def test_without_that_policy_doubt_is_doubt(policy: str) -> None:
    assert report(DOUBTED, status="not trustworthy", on_untrusted=policy).exit_code == 5
