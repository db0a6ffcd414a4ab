"""The state of the machine around a measurement, and which findings make a figure untrustworthy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Any

from edgekd import target
from edgekd.device import probe as device
from edgekd.errors import TargetError
from edgekd.figure import Origin
from edgekd.profile import EngineRecord, Profile

MOST_STOLEN = 0.05
"""Share of processor time the hypervisor may give to others."""
MOST_CLOCK_LOSS = 0.1
MOST_OTHERS = 0.1
"""Share of the machine's processor time that other programs may take before it is worth a remark."""
_FIXED = {
    "governor": "governor",
    "affinity": "processor affinity",
    "quota_cores": "processor quota",
    "power_mode": "power mode",
}


def probe() -> dict[str, Any]:
    """Return what this machine is (ISA, processor, versions) and its present `state`; see edgekd/device/probe.py."""
    return device.probe()


def profiled(
    name: str,
    origin: Origin,
    records: Sequence[EngineRecord],
    told: Mapping[str, Any],
    probed: Mapping[str, Any],
) -> Profile:
    """Return a profile of a machine under a target's name.

    `told` is what a series says of the machine meanwhile, `probed` what the machine says of itself.
    """
    identity, versions = identified(probed)
    return Profile(target=name, origin=origin, machine={**identity, **told}, versions=versions, records=tuple(records))


def identified(probed: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """Return what does not change about a probed machine, and the versions of what is installed."""
    identity = dict(probed)
    versions = {**identity.pop("versions"), "python": identity["python"]}
    identity.pop("state")
    return identity, versions


@lru_cache(maxsize=1)
def _identity() -> dict[str, Any]:
    return device.identity()


def host_target() -> str:
    """Return the name of the shipped target this machine is; raises TargetError when it is none of them."""
    machine, isa = _identity()["machine"], frozenset(_identity()["isa"])
    name = target.of(_identity())
    if name is None:
        raise TargetError(
            f"no shipped target fits this machine ({machine}, {_identity()['cpu']}, vector instructions: "
            f"{', '.join(sorted(isa)) or 'none known'}); name a target file of your own with --target FILE.yaml"
        )
    return name


def is_target(wanted: target.Target) -> bool:
    """Return whether this machine is a target on whose processor engines run."""
    known = _identity()
    return not wanted.needs_gpu and wanted.fits(known["machine"], frozenset(known["isa"]), known.get("model") or "")


def doubts(states: Sequence[dict[str, Any]]) -> list[str]:
    """Return why figures taken between the first and the last of these states cannot be trusted, a sentence each.

    Other load alone is no reason: it widens the bounds, and blocks that had to wait for a processor are measured again.
    Nor is a change within a block, which is measured again as well; one that lasts from state to state is.
    """
    found = (_stolen(states[0], states[-1]), _throttled(states), _held_down(states), _moved(states))
    return [sentence for sentence in found if sentence]


def remarks(states: Sequence[dict[str, Any]]) -> list[str]:
    """Return what a reader should know about the machine although the bounds account for it."""
    return [
        sentence for sentence in (_slower(states), _governed(states[0]), _busy(states[0]), others(states)) if sentence
    ]


def others(states: Sequence[dict[str, Any]]) -> str:
    """Return what part of the machine other programs took between the states, nothing where that was little."""
    total = others = 0.0
    for first, last in pairwise(states):
        # What this process did is counted from its own start: states of another one say nothing about the time between.
        if first.get("total_s") is None or last.get("total_s") is None or first.get("pid") != last.get("pid"):
            continue
        total += last["total_s"] - first["total_s"]
        others += max((last["busy_s"] - first["busy_s"]) - (last["own_s"] - first["own_s"]), 0.0)
    share = others / total if total > 0 else 0.0
    return f"other programs took {share:.0%} of the machine's processor time meanwhile" if share > MOST_OTHERS else ""


def _stolen(first: dict[str, Any], last: dict[str, Any]) -> str:
    if first.get("stolen_ticks") is None or last.get("stolen_ticks") is None:
        return ""
    share = (last["stolen_ticks"] - first["stolen_ticks"]) / max(last["ticks"] - first["ticks"], 1)
    return f"the hypervisor took {share:.0%} of the processor time meanwhile" if share > MOST_STOLEN else ""


def _throttled(states: Sequence[dict[str, Any]]) -> str:
    counts = [state.get("throttled") or 0 for state in states]
    hot = max(counts) > counts[0] or any(state.get("cooled") for state in states)
    return "the processor was throttled by heat meanwhile" if hot else ""


def _held_down(states: Sequence[dict[str, Any]]) -> str:
    flags = [state.get("firmware_throttled") or 0 for state in states]
    said = f"the board's firmware reported under-voltage or throttling (flags {max(flags):#x})"
    return said if any(flags) else ""


def _slower(states: Sequence[dict[str, Any]]) -> str:
    clocks = [max(state["clocks_mhz"]) for state in states if state.get("clocks_mhz")]
    if not clocks or min(clocks) >= (1 - MOST_CLOCK_LOSS) * max(clocks):
        return ""
    return f"the fastest core's clock went between {max(clocks):.0f} and {min(clocks):.0f} MHz"


def _governed(state: dict[str, Any]) -> str:
    slow = [name for name in state.get("governor") or [] if name != "performance"]
    return f"the frequency governor was {', '.join(slow)}, not performance" if slow else ""


def _busy(state: dict[str, Any]) -> str:
    load, cores = state.get("load") or [0.0], len(state.get("affinity") or [0])
    return f"the load average was {load[0]:.1f} on {cores} cores before the first run" if load[0] > cores / 2 else ""


def _moved(states: Sequence[dict[str, Any]]) -> str:
    for key, word in _FIXED.items():
        values = list({str(state.get(key)): state.get(key) for state in states}.values())
        if len(values) > 1:
            return f"the {word} changed meanwhile from {values[0]} to {values[1]}"
    return ""
