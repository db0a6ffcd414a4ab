from __future__ import annotations

from pathlib import Path

from edgekd.device import board


def _write(path: Path, content: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)


def test_a_jetson_tells_its_power_mode_and_gpu_clock(tmp_path: Path) -> None:
    _write(tmp_path / "etc/nvpmodel.conf", "")
    _write(tmp_path / "var/lib/nvpmodel/status", "pmode:0002\n")
    _write(tmp_path / "sys/class/devfreq/17000000.gpu/cur_freq", "306000000\n")
    found = board.state(str(tmp_path))
    assert found["power_mode"] == "pmode:0002"
    assert found["gpu_clocks_mhz"] == [306]


def test_cooling_and_firmware_flags_are_those_of_this_moment(tmp_path: Path) -> None:
    for number, (kind, now) in enumerate([("Processor", "0"), ("cpufreq-cpu4", "2"), ("pwm-fan", "3")]):
        _write(tmp_path / f"sys/class/thermal/cooling_device{number}/type", kind)
        _write(tmp_path / f"sys/class/thermal/cooling_device{number}/cur_state", now)
    _write(tmp_path / "sys/devices/platform/soc/soc:firmware/get_throttled", "50005")
    found = board.state(str(tmp_path))
    assert found["cooled"] == 1
    assert found["firmware_throttled"] == 5


def test_other_machines_tell_none_of_it(tmp_path: Path) -> None:
    assert set(board.state(str(tmp_path))) <= {"gpu"}
