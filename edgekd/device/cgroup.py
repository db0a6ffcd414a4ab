"""The control group of this process: how much processor time it may use, and how often it was held back for that."""

from __future__ import annotations

import os
from typing import List, Optional

from .sysfs import text


def folders(root: str = "/") -> List[str]:
    """Return where this process's group may tell its processor limits: version 2 first, then version 1."""
    lines = (text(os.path.join(root, "proc/self/cgroup")) or "").splitlines()
    mount = os.path.join(root, "sys/fs/cgroup")
    found = []
    for line in lines:
        _, _, entry = line.partition(":")
        controllers, _, group = entry.partition(":")
        if not controllers:
            found.append(os.path.join(mount, group.strip("/")))
        elif "cpu" in controllers.split(","):
            found += [os.path.join(mount, controllers, group.strip("/")), os.path.join(mount, "cpu", group.strip("/"))]
    return [*dict.fromkeys(folder.rstrip("/") for folder in [*found, mount, os.path.join(mount, "cpu")])]


def quota_cores(root: str = "/") -> Optional[float]:
    """Return how many cores' worth of time the control group may use, None without a limit."""
    for folder in folders(root):
        quota, _, period = (text(os.path.join(folder, "cpu.max")) or "").partition(" ")
        if not quota:
            quota, period = (
                text(os.path.join(folder, "cpu.cfs_{}_us".format(key))) or "" for key in ("quota", "period")
            )
        if quota.isdigit() and period.isdigit():
            return int(quota) / int(period)
    return None


def throttle_file(root: str = "/") -> Optional[str]:
    """Return the file that counts how often the group was held back, None where there is none."""
    files = (os.path.join(folder, "cpu.stat") for folder in folders(root))
    return next((file for file in files if "nr_throttled" in (text(file) or "")), None)


def throttled_periods(file: Optional[str]) -> Optional[int]:
    """Return in how many periods the group had used up its quota, from the file that `throttle_file` names."""
    for line in (text(file) or "").splitlines() if file else ():
        key, _, value = line.partition(" ")
        if key == "nr_throttled" and value.isdigit():
            return int(value)
    return None
