from __future__ import annotations

import pytest

from edgekd import target
from edgekd.errors import TargetError
from edgekd.measure import machine

_QUIET = {
    "governor": ["performance"],
    "clocks_mhz": [3000.0, 2000.0],
    "throttled": 0,
    "load": [0.1, 0.1, 0.1],
    "ticks": 1000,
    "stolen_ticks": 10,
    "affinity": [0, 1],
    "quota_cores": None,
}


def test_a_quiet_machine_raises_no_doubt() -> None:
    after = {**_QUIET, "ticks": 2000, "stolen_ticks": 12}
    assert machine.doubts([_QUIET, after]) == []
    assert machine.remarks([_QUIET, after]) == []


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"ticks": 2000, "stolen_ticks": 110}, "hypervisor"),
        ({"throttled": 1}, "heat"),
        ({"affinity": [0]}, "affinity"),
        ({"governor": ["powersave"]}, "governor"),
        ({"quota_cores": 1.0}, "quota"),
        ({"power_mode": "15W"}, "power mode"),
        ({"cooled": 2}, "heat"),
        ({"firmware_throttled": 4}, "under-voltage"),
    ],
)
def test_what_spoils_a_measurement_is_a_doubt(change: dict, word: str) -> None:
    (sentence,) = machine.doubts([_QUIET, {**_QUIET, **change}])
    assert word in sentence


def test_load_and_floating_clocks_are_remarks() -> None:
    busy = {**_QUIET, "load": [3.0, 1.0, 1.0], "governor": ["schedutil"]}
    slow = {**busy, "clocks_mhz": [2000.0]}
    assert machine.doubts([busy, slow]) == []
    assert len(machine.remarks([busy, slow])) == 3


def test_what_changes_in_the_middle_and_back_is_a_doubt() -> None:
    assert len(machine.doubts([_QUIET, {**_QUIET, "governor": ["powersave"]}, _QUIET])) == 1


def test_other_programs_are_told_apart_from_our_own_work() -> None:
    def state(total_s: float, busy_s: float, own_s: float, pid: int = 7) -> dict:
        return {**_QUIET, "total_s": total_s, "busy_s": busy_s, "own_s": own_s, "pid": pid}

    ours = [state(100, 50, 1), state(120, 68, 18)]
    assert machine.remarks(ours) == []
    (remark,) = machine.remarks([*ours, state(140, 86, 20)])
    assert remark.startswith("other programs took 42%")  # 1 + 16 of 40 seconds
    resumed = [state(100, 50, 1), state(900, 800, 3, pid=8), state(910, 805, 8, pid=8)]
    assert machine.remarks(resumed) == []


def test_a_system_that_tells_nothing_raises_no_doubt() -> None:
    silent = {"governor": [], "clocks_mhz": [], "throttled": 0, "load": [], "ticks": None, "stolen_ticks": None}
    assert machine.doubts([silent, silent]) == []
    assert machine.remarks([silent, silent]) == []


@pytest.mark.parametrize(
    ("isa", "name"), [(["avx2", "fma"], "x86-avx2"), (["avx2", "fma", "avx_vnni", "vnni"], "x86-vnni")]
)
def test_host_target_follows_the_instruction_sets(isa: list[str], name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_identity", lambda: {"machine": "x86_64", "isa": isa, "cpu": "some", "versions": {}})
    assert machine.host_target() == name
    assert target.load(name).machine == "x86_64"


def test_an_unknown_machine_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_identity", lambda: {"machine": "pdp11", "isa": [], "cpu": "KA10", "versions": {}})
    with pytest.raises(TargetError, match=r"pdp11, KA10.*--target"):
        machine.host_target()
