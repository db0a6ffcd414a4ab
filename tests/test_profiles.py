"""Every shipped profile is of the target its folder names, measured there, and raw enough to be judged again."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgekd import catalogue
from edgekd.measure.comparison import fastest_teacher, paired_ratio
from edgekd.profile import Profile
from edgekd.schema import read_json

PROFILES = sorted(catalogue.folder("profiles").glob("*/*.json"))


def test_there_is_one() -> None:
    assert PROFILES


@pytest.mark.parametrize("path", PROFILES, ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_shipped_profile_is_sound(path: Path) -> None:
    profile = read_json(Profile, path)
    assert profile.target == path.parent.name
    assert profile.origin == "device"
    assert not profile.machine["doubts"]
    teacher = fastest_teacher(profile.records, 90)
    assert teacher is not None
    for record in profile.records:
        assert record.kernels
        ratio = paired_ratio(record, teacher, 90, "share")
        assert ratio.samples >= 11
        assert ratio.lower is not None
