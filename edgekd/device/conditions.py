"""Conditions that must not change while a block is timed, read at the cost of a few small files."""

from __future__ import annotations

import glob
import os
import time
from typing import Any, Dict, List

from . import cgroup
from .sysfs import text

MOST_CLOCK_JUMP_S = 0.1
_SENTENCES = {
    "governor": "the frequency governor changed",
    "affinity": "the processor affinity changed",
    "quota": "the processor quota changed",
    "heat": "the processor was throttled by heat",
    "held_back": "the control group had used up its processor quota",
}


class Conditions:
    """Looks at the same files again and again; they are searched for once. `root` is where the file system begins."""

    def __init__(self, root: str = "/") -> None:
        cpus = os.path.join(root, "sys/devices/system/cpu/cpu[0-9]*")
        self._root = root
        self._governors = sorted(glob.glob(os.path.join(cpus, "cpufreq/scaling_governor")))
        self._heat = sorted(glob.glob(os.path.join(cpus, "thermal_throttle/*_throttle_count")))
        self._held_back = cgroup.throttle_file(root)

    def now(self) -> Dict[str, Any]:
        """Return the conditions at this moment, for `changes`."""
        return {
            "governor": {text(path) for path in self._governors},
            "affinity": os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None,
            "quota": cgroup.quota_cores(self._root),
            "heat": [text(path) for path in self._heat],
            "held_back": cgroup.throttled_periods(self._held_back),
            "wall_s": time.time(),
            "monotonic_s": time.monotonic(),
        }


def changes(before: Dict[str, Any], after: Dict[str, Any]) -> List[str]:
    """Return what became different in between, a sentence each; nothing when the conditions stayed."""
    found = [sentence for key, sentence in _SENTENCES.items() if before[key] != after[key]]
    jump = (after["wall_s"] - before["wall_s"]) - (after["monotonic_s"] - before["monotonic_s"])
    if abs(jump) > MOST_CLOCK_JUMP_S:
        found.append("the wall clock jumped by {:+.1f} s".format(jump))
    return found
