from __future__ import annotations

import time
from pathlib import Path

import pytest

from edgekd.device import counters as energy
from edgekd.device.counters import AbsentError, Ina3221, Nvml, Rapl, counters


def _write(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{content}\n")


def _zone(root: Path, zone: str, name: str, microjoules: int) -> Path:
    folder = root / "sys/class/powercap" / zone
    _write(folder / "name", name)
    _write(folder / "energy_uj", microjoules)
    _write(folder / "max_energy_range_uj", 1_000_000_000)
    return folder / "energy_uj"


def test_rapl_sums_packages_and_memory_and_follows_a_wrap_around(tmp_path: Path) -> None:
    package = _zone(tmp_path, "intel-rapl:0", "package-0", 999_000_000)
    memory = _zone(tmp_path, "intel-rapl:0:1", "dram", 10)
    _zone(tmp_path, "intel-rapl:0:0", "core", 0)
    _zone(tmp_path, "intel-rapl:1", "psys", 0)
    counter = Rapl(str(tmp_path))
    assert counter.joules() == 0
    _write(package, 4_000_000)
    _write(memory, 2_000_010)
    _write(tmp_path / "sys/class/powercap/intel-rapl:1/energy_uj", 10**9)
    assert counter.joules() == pytest.approx(5 + 2)
    _write(package, 5_000_000)
    assert counter.joules() == pytest.approx(8)


def test_ina3221_integrates_the_rail_of_the_whole_board(tmp_path: Path) -> None:
    sensor = tmp_path / "sys/class/hwmon/hwmon1"
    _write(sensor / "name", "ina3221")
    for number, (label, millivolts, milliamperes) in enumerate([("VDD_IN", 5000, 2000), ("VDD_CPU", 5000, 1000)], 1):
        _write(sensor / f"in{number}_label", label)
        _write(sensor / f"in{number}_input", millivolts)
        _write(sensor / f"curr{number}_input", milliamperes)
    begin = time.perf_counter()
    counter = Ina3221(str(tmp_path))
    time.sleep(0.2)
    joules, seconds = counter.joules(), time.perf_counter() - begin
    counter.close()
    assert joules == pytest.approx(10 * seconds, rel=0.3)
    assert not counter._thread.is_alive()


def test_why_nothing_can_be_read_is_told_for_every_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found, missing = counters("onnxruntime", str(tmp_path))
    assert found == []
    assert missing["rapl"].startswith("absent")
    assert missing["ina3221"].startswith("absent")
    assert "processor" in missing["nvml"]

    def refused(*_: object, **__: object) -> None:
        raise PermissionError

    _zone(tmp_path, "intel-rapl:0", "package-0", 1)
    monkeypatch.setattr(energy, "open", refused, raising=False)  # root reads everything: no mode bits for a test
    assert counters("openvino", str(tmp_path))[1]["rapl"].startswith("not permitted")


class _Driver:
    """Two cards behind NVML's functions; the second is too old to count."""

    def __init__(self, *, old: bool) -> None:
        self.old, self.closed = old, False

    def nvmlInit_v2(self) -> int:
        return 0

    def nvmlShutdown(self) -> int:
        self.closed = True
        return 0

    def nvmlDeviceGetCount_v2(self, count: object) -> int:
        count._obj.value = 2
        return 0

    def nvmlDeviceGetHandleByIndex_v2(self, number: object, card: object) -> int:
        card._obj.value = 7 + number.value
        return 0

    def nvmlDeviceGetTotalEnergyConsumption(self, card: object, millijoules: object) -> int:
        millijoules._obj.value = 1000 * card.value
        return 3 if self.old and card.value == 8 else 0


def test_nvml_sums_all_cards_and_an_old_one_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    driver = _Driver(old=False)
    monkeypatch.setattr(energy.ctypes, "CDLL", lambda name: driver)
    counter = Nvml()
    assert counter.joules() == 7 + 8
    counter.close()
    assert driver.closed
    driver.old = True
    _, missing = counters("tensorrt")
    assert missing["nvml"] == "nvmlDeviceGetTotalEnergyConsumption refused with NVML's error 3"


def test_nvml_that_is_absent_says_so() -> None:
    with pytest.raises(AbsentError, match="absent: no libnothing"):
        Nvml("libnothing.so.1")
    assert "nvml" in {*(c.name for c in counters("tensorrt")[0]), *counters("tensorrt")[1]}
