"""What only some machines have: a Jetson's power mode, a graphics processor's clocks, flags that firmware throttles."""

from __future__ import annotations

import glob
import os
import shutil
import subprocess
from typing import Any, Dict, List, Optional

from .sysfs import numbers, text

TIMEOUT_S = 10.0
_ASKED = ("clocks.sm", "clocks.mem", "temperature.gpu", "clocks_throttle_reasons.active")
_COOLERS = ("Processor", "cpufreq", "thermal-cpufreq", "thermal-devfreq", "cpu-", "gpu-")


def state(root: str = "/") -> Dict[str, Any]:
    """Return the passing facts that this board tells: only the keys it knows.

    `power_mode` of a Jetson, `gpu_clocks_mhz` from sysfs, `gpu` (one line of values per card) where nvidia-smi is
    installed, `cooled` (how many processor cooling devices are at work), `firmware_throttled` (of a Raspberry Pi).
    """
    found = {
        "power_mode": power_mode(root),
        "gpu_clocks_mhz": [hertz / 1e6 for hertz in numbers(os.path.join(root, "sys/class/devfreq/*gpu*/cur_freq"))],
        "gpu": _nvidia_smi(),
        "cooled": _cooled(root),
        "firmware_throttled": _firmware_flags(root),
    }
    return {key: value for key, value in found.items() if value not in (None, [])}


def power_mode(root: str = "/") -> Optional[str]:
    """Return a Jetson's power mode as its own tool calls it, None on other machines or where nobody may ask."""
    if not os.path.exists(os.path.join(root, "etc/nvpmodel.conf")):
        return None
    for place in ("etc/nvpmodel/status", "var/lib/nvpmodel/status"):
        kept = text(os.path.join(root, place))
        if kept:
            return " ".join(kept.split())
    return _said(["nvpmodel", "-q"])


def _cooled(root: str) -> Optional[int]:
    """Return how many cooling devices slow a processor down at this moment; None where there are none."""
    found = []
    for folder in glob.glob(os.path.join(root, "sys/class/thermal/cooling_device*")):
        if (text(os.path.join(folder, "type")) or "").startswith(_COOLERS):
            found += numbers(os.path.join(folder, "cur_state"))
    return sum(now > 0 for now in found) if found else None


def _firmware_flags(root: str) -> Optional[int]:
    """Return the low bits of a Raspberry Pi's flags: under-voltage, capped, throttled, soft limit, right now."""
    said = text(os.path.join(root, "sys/devices/platform/soc/soc:firmware/get_throttled"))
    try:
        return int(said, 16) & 0xF if said else None
    except ValueError:
        return None


def _nvidia_smi() -> Optional[List[str]]:
    said = _said(["nvidia-smi", "--query-gpu=" + ",".join(_ASKED), "--format=csv,noheader"])
    return said.splitlines() if said else None


def _said(command: List[str]) -> Optional[str]:
    """Return what a tool prints, None where it is missing, fails or takes too long."""
    if shutil.which(command[0]) is None:
        return None
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.decode(errors="replace").strip() if done.returncode == 0 else None
