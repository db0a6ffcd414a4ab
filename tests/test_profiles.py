"""Every shipped profile is of the target its folder names, measured there, and raw enough to be judged again."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgekd import catalogue
from edgekd import target as targets
from edgekd.measure.comparison import fastest_teacher, paired_ratio
from edgekd.predict import known
from edgekd.predict.answer import answers
from edgekd.profile import Profile
from edgekd.schema import read_json
from tests.onnx_graph.onnx_graphs import classic

FILES = sorted(catalogue.folder("profiles").glob("*/*.json"))
KERNELS = [path for path in FILES if path.name == known.FILE]
PROFILES = [path for path in FILES if path not in KERNELS]


def test_there_is_one() -> None:
    assert PROFILES
    assert KERNELS


@pytest.mark.parametrize("path", KERNELS, ids=lambda p: p.parent.name)
def test_shipped_kernel_profile_predicts(path: Path) -> None:
    profile = known.load(path)
    assert profile.target == path.parent.name
    assert profile.origin == "device"
    assert not profile.machine["doubts"]
    assert profile.machine["seconds"] < 660
    device = targets.load(profile.target)
    assert set(profile.fits) == set(device.runtimes)
    assert {probe.scheme for probe in profile.probes} == {"fp32", *device.schemes()}
    for runtime in device.runtimes:
        (found,) = answers(classic("squeezenet"), profile, [runtime], None)
        latency = found.prediction.latency
        assert latency.lower is not None
        assert latency.upper is not None
        assert 0.5 < latency.lower < latency.value < latency.upper < 50  # on one core of any processor with VNNI
        assert found.memory is not None
        assert 20 < found.memory.value < 120


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
