"""Energy counters of a machine: RAPL of x86 processors, the INA3221 of Jetson boards, NVML of NVIDIA cards.

RAPL: David et al. 2010, RAPL: Memory Power Estimation and Capping; read through the kernel's powercap tree.
"""

from __future__ import annotations

import ctypes
import glob
import os
import threading
import time
from typing import Any, Callable, Dict, List, Optional, Tuple

from .sysfs import text

GPU_RUNTIMES = ("tensorrt", "tensorrt_rtx")
SAMPLE_S = 0.01
_WHOLE_BOARD = ("VDD_IN", "VIN", "POM_5V_IN")
_DOMAINS = ("package", "dram")


class Counter:
    """A source of energy; `joules` rises from call to call."""

    name = ""

    def joules(self) -> float:
        """Return the joules since some fixed moment."""
        raise NotImplementedError

    def close(self) -> None:
        """End whatever was started for counting."""


class AbsentError(Exception):
    """Says why a counter cannot be read."""


class Rapl(Counter):
    """Packages and their memory; a counter that wraps around is followed as long as it is read once a turn."""

    name = "rapl"

    def __init__(self, root: str) -> None:
        self._total = 0.0
        self._domains: List[Tuple[str, int]] = []
        zones = sorted(glob.glob(os.path.join(root, "sys/class/powercap/*-rapl:*")))
        for zone in zones:
            if (text(os.path.join(zone, "name")) or "").startswith(_DOMAINS):
                file = os.path.join(zone, "energy_uj")
                _refuse_unreadable(file)
                self._domains.append((file, int(text(os.path.join(zone, "max_energy_range_uj")) or 0)))
        if not self._domains:
            raise AbsentError("absent: no package under /sys/class/powercap/*-rapl:*")
        self._last = [self._microjoules(file) for file, _ in self._domains]

    def joules(self) -> float:
        """Return the joules of all domains since this object was made."""
        now = [self._microjoules(file) for file, _ in self._domains]
        for place, (_, most) in enumerate(self._domains):
            step = now[place] - self._last[place]
            self._total += (step if step >= 0 else step + most) / 1e6
        self._last = now
        return self._total

    @staticmethod
    def _microjoules(file: str) -> int:
        return int(text(file) or 0)


class Ina3221(Counter):
    """Power of a Jetson's rails, read every `SAMPLE_S` by a thread of its own and summed up by the trapezoidal rule.

    The rail of the whole board is taken where one has its name, else all rails together.
    """

    name = "ina3221"

    def __init__(self, root: str) -> None:
        rails = []
        for folder in sorted(glob.glob(os.path.join(root, "sys/class/hwmon/hwmon*"))):
            if text(os.path.join(folder, "name")) == "ina3221":
                rails += _rails(folder)
        whole = [rail for rail in rails if rail[0].startswith(_WHOLE_BOARD)]
        self._rails = whole or rails
        if not self._rails:
            raise AbsentError("absent: no ina3221 under /sys/class/hwmon")
        for _, volts, amperes in self._rails:
            _refuse_unreadable(volts)
            _refuse_unreadable(amperes)
        self._lock = threading.Lock()
        self._total, self._at, self._watts = 0.0, time.perf_counter(), self._power()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()

    def joules(self) -> float:
        """Return the joules since this object was made."""
        self._add()
        return self._total

    def close(self) -> None:
        """End the thread."""
        self._stop.set()
        self._thread.join()

    def _follow(self) -> None:
        while not self._stop.wait(SAMPLE_S):
            self._add()

    def _add(self) -> None:
        with self._lock:
            now, watts = time.perf_counter(), self._power()
            self._total += (now - self._at) * (watts + self._watts) / 2
            self._at, self._watts = now, watts

    def _power(self) -> float:
        return sum(int(text(volts) or 0) * int(text(amperes) or 0) / 1e6 for _, volts, amperes in self._rails)


class Nvml(Counter):
    """Total energy of all NVIDIA cards, which their driver counts in millijoules (Volta and later)."""

    name = "nvml"

    def __init__(self, library: str = "libnvidia-ml.so.1") -> None:
        try:
            self._nvml = ctypes.CDLL(library)
        except OSError as error:
            raise AbsentError("absent: no {}".format(library)) from error
        self._ask("nvmlInit_v2")
        count = ctypes.c_uint()
        self._ask("nvmlDeviceGetCount_v2", ctypes.byref(count))
        self._cards = [ctypes.c_void_p() for _ in range(count.value)]
        for number, card in enumerate(self._cards):
            self._ask("nvmlDeviceGetHandleByIndex_v2", ctypes.c_uint(number), ctypes.byref(card))
        if not self._cards:
            raise AbsentError("absent: NVML knows no card")
        self.joules()

    def joules(self) -> float:
        """Return the joules of all cards since their driver was loaded."""
        total = 0
        for card in self._cards:
            millijoules = ctypes.c_ulonglong()
            self._ask("nvmlDeviceGetTotalEnergyConsumption", card, ctypes.byref(millijoules))
            total += millijoules.value
        return total / 1e3

    def close(self) -> None:
        """Give NVML back."""
        self._ask("nvmlShutdown")

    def _ask(self, function: str, *arguments: Any) -> None:
        code = getattr(self._nvml, function)(*arguments)
        if code != 0:
            raise AbsentError("{} refused with NVML's error {}".format(function, code))


def counters(runtime: str, root: str = "/") -> Tuple[List[Counter], Dict[str, str]]:
    """Return the counters that can be read for an engine of `runtime`, and by name why the others cannot."""
    makers: Dict[str, Callable[[], Counter]] = {"rapl": lambda: Rapl(root), "ina3221": lambda: Ina3221(root)}
    missing = {}
    if runtime in GPU_RUNTIMES:
        makers["nvml"] = Nvml
    else:
        missing["nvml"] = "not asked: the engine computes on the processor"
    found = []
    for name, make in makers.items():
        try:
            found.append(make())
        except AbsentError as error:
            missing[name] = str(error)
    return found, missing


def _rails(folder: str) -> List[Tuple[str, str, str]]:
    """Return label, voltage file (mV) and current file (mA) of every rail of one sensor."""
    found = []
    for volts in sorted(glob.glob(os.path.join(folder, "in[0-9]_input"))):
        number = os.path.basename(volts)[2]
        amperes = os.path.join(folder, "curr{}_input".format(number))
        label: Optional[str] = text(os.path.join(folder, "in{}_label".format(number)))
        if os.path.exists(amperes) and label:
            found.append((label, volts, amperes))
    return found


def _refuse_unreadable(file: str) -> None:
    try:
        with open(file, encoding="ascii") as stream:
            int(stream.read())
    except PermissionError:
        raise AbsentError("not permitted: {} can only be read by root".format(file)) from None
    except (OSError, ValueError) as error:
        raise AbsentError("unreadable: {}: {}".format(file, error)) from None
