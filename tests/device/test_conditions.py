from __future__ import annotations

from pathlib import Path

import pytest

from edgekd.device.conditions import Conditions, changes


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A file system in which a processor tells its governor and heat, and a group its quota."""
    cpu, group = tmp_path / "sys/devices/system/cpu/cpu0", tmp_path / "sys/fs/cgroup/job"
    for folder in (cpu / "cpufreq", cpu / "thermal_throttle", group, tmp_path / "proc/self"):
        folder.mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text("0::/job\n")
    (cpu / "cpufreq/scaling_governor").write_text("performance\n")
    (cpu / "thermal_throttle/core_throttle_count").write_text("3\n")
    (group / "cpu.max").write_text("150000 100000\n")
    (group / "cpu.stat").write_text("usage_usec 5\nnr_throttled 7\n")
    return tmp_path


def test_a_quiet_block_changes_nothing(root: Path) -> None:
    watched = Conditions(str(root))
    before = watched.now()
    assert before["quota"] == 1.5
    assert before["held_back"] == 7
    assert changes(before, watched.now()) == []


@pytest.mark.parametrize(
    ("file", "content", "word"),
    [
        ("sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "powersave", "governor"),
        ("sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count", "4", "heat"),
        ("sys/fs/cgroup/job/cpu.max", "max 100000", "quota changed"),
        ("sys/fs/cgroup/job/cpu.stat", "nr_throttled 8", "used up"),
    ],
)
def test_each_change_is_named(root: Path, file: str, content: str, word: str) -> None:
    watched = Conditions(str(root))
    before = watched.now()
    (root / file).write_text(content)
    (sentence,) = changes(before, watched.now())
    assert word in sentence


def test_a_clock_that_jumps_back_is_named_and_a_slow_one_is_not(root: Path) -> None:
    before = Conditions(str(root)).now()
    later = {**before, "wall_s": before["wall_s"] - 30, "monotonic_s": before["monotonic_s"] + 2}
    assert changes(before, later) == ["the wall clock jumped by -32.0 s"]
    assert (
        changes(before, {**before, "wall_s": before["wall_s"] + 2, "monotonic_s": before["monotonic_s"] + 2.05}) == []
    )
