"""A registered host: who this machine is, and how fast its anchor ran when milliseconds were declared to count on it.

An absolute limit holds on one machine in one state. `edgekd targets register-host` writes down that state; a gate holds
the present one against it and knows which of its verdicts still stand.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, NamedTuple

from edgekd import cache
from edgekd.artifact import digest_of_path
from edgekd.budget import OperatingPoint
from edgekd.errors import MeasurementError, UsageError
from edgekd.figure import Figure
from edgekd.measure import anchor
from edgekd.measure.engine import Engine
from edgekd.measure.series import Series
from edgekd.measure.statistics import Bounds
from edgekd.profile import EngineRecord, latency_name
from edgekd.schema import Field, Schema, digest_of, read_json, write_json, write_text

KIND = "hosts"
COMMAND = "edgekd targets register-host"
_IDENTITY = ("machine", "cpu", "cores")
"""What a host is found by; everything else may be different now, and is then said."""
_PASSING = frozenset({"kernel"})
"""Updated every other week; what an update does to the speed, the anchor tells."""


class Anchor(Schema):
    """What the anchor cost in one runtime at one number of threads."""

    runtime: str
    version: str = Field(description="of the runtime")
    threads: int = Field(ge=1)
    figure: Figure = Field(description="latency_ms_p50: median over processes, with bounds")
    per_process: tuple[float, ...] = Field(description="latency_ms_p50 of every process, in milliseconds")
    digest: str = Field(description="of the anchor network")
    registered_at: str


class Host(Schema):
    """One machine as it was registered."""

    schema_version: Literal[1] = 1
    identity: dict[str, Any] = Field(description="processor, instruction sets, cores, threads a core, kernel")
    conditions: dict[str, Any] = Field(description="governor, processor quota and affinity, power mode")
    anchors: tuple[Anchor, ...] = ()

    def anchor(self, runtime: str, threads: int) -> Anchor | None:
        """Return what was registered for a runtime and a number of threads, None when nothing was."""
        return next((a for a in self.anchors if (a.runtime, a.threads) == (runtime, threads)), None)


class Standing(NamedTuple):
    """What milliseconds taken now are worth: judged by the registered anchor, or not to be judged at all."""

    registered: Bounds | None = None
    """The anchor's latency_ms_p50 when this host was registered; None when no absolute limit can be judged."""
    doubt: str = ""
    """Why it cannot, and what to do."""
    per_process: tuple[float, ...] = ()
    """The registered latency_ms_p50 of every process."""


def place(probed: Mapping[str, Any]) -> Path:
    """Return the file in the user's cache in which a probed machine is or would be registered."""
    return cache.folder() / KIND / digest_of([probed.get(key) for key in _IDENTITY]) / "host.json"


def load(probed: Mapping[str, Any]) -> Host | None:
    """Return the registration of a probed machine, None when there is none; raises UsageError when it is broken."""
    path = place(probed)
    if not path.is_file():
        return None
    try:
        return read_json(Host, path)
    except UsageError as error:
        raise UsageError(f"{error}; register this host again: {COMMAND}") from None


def register(series: Series, point: OperatingPoint, probed: Mapping[str, Any]) -> Host:
    """Write down a probed machine with the anchors of a series that measured nothing else, beside what was registered.

    Raises MeasurementError when the series has doubts: what is not trustworthy now is no measure for later.
    """
    doubts = [*series.machine["doubts"], *series.machine["engine_doubts"].values()]
    if doubts:
        raise MeasurementError(f"this host is not registered: {'; '.join(doubts)}; run {COMMAND} when it is quiet")
    known = load(probed)
    new = [_anchor(record, point, probed["versions"]) for record in series.records]
    replaced = {(found.runtime, found.threads) for found in new}
    valid = known.anchors if known is not None and not differences(known, probed) else ()
    kept = [a for a in valid if (a.runtime, a.threads) not in replaced]
    host = Host(identity=_identity(probed), conditions=_conditions(probed["state"]), anchors=(*kept, *new))
    write_json(host, place(probed))
    return host


def standing(anchored: Engine, point: OperatingPoint, probed: Mapping[str, Any], command: str = COMMAND) -> Standing:
    """Return what absolute figures are worth that are measured on a probed machine, interleaved with this anchor.

    `command` is what registers that machine.
    """
    command = f"{command} --runtime {anchored.runtime} --threads {point.threads}"
    instead = f"run: {command}; or give --baseline and limit latency_ratio, which holds on any machine"
    host = load(probed)
    then = None if host is None else host.anchor(anchored.runtime, point.threads)
    if host is None or then is None:
        what = "" if host is None else f" for {anchored.runtime} with {_threads(point.threads)}"
        return Standing(doubt=f"milliseconds count only on a registered host, and this one is not{what}; {instead}")
    changed = differences(host, probed)
    version = probed["versions"].get(anchored.runtime)
    if version != then.version:
        changed.append(f"{anchored.runtime} was {then.version}, now it is {version}")
    if anchored.digest != then.digest:
        changed.append("the anchor is another network")
    if changed:
        said = "; ".join(changed)
        return Standing(doubt=f"this host is not as it was registered ({said}); when that is meant, run: {command}")
    figure = then.figure
    bounds = Bounds(figure.value, figure.lower, figure.upper, figure.confidence)
    return Standing(bounds, per_process=then.per_process)


def speed(record: EngineRecord, registered: Bounds) -> Figure:
    """Return the anchor's latency now divided by its registered one, as `anchor_ratio`: above 1 is a slower machine."""
    now = record.figure(latency_name(50))
    if now is None:
        raise MeasurementError(f"{record.key} was measured without {latency_name(50)}")
    return now.replace(
        name="anchor_ratio",
        value=now.value / registered.value,
        lower=_quotient(now.lower, registered.upper),
        upper=_quotient(now.upper, registered.lower),
    )


def write_raw(path: Path, key: str, standing: Standing) -> None:
    """Write a JSON line per process by which the anchor `key` was registered, so that its ratio can be recomputed."""
    lines: list[dict[str, Any]] = [{"kind": "look", "processes": len(standing.per_process)}]
    lines += [
        {"kind": "host", "engine": key, "process": number, latency_name(50): value}
        for number, value in enumerate(standing.per_process)
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text("".join(json.dumps(line) + "\n" for line in lines), path)


def differences(host: Host, probed: Mapping[str, Any]) -> list[str]:
    """Return what is not as it was when a host was registered, a clause each; versions of runtimes aside."""
    then = {**host.identity, **host.conditions}
    now = {**_identity(probed), **_conditions(probed["state"])}
    return [
        f"{key} was {_text(then.get(key))}, now it is {_text(now[key])}"
        for key in now
        if key not in _PASSING and then.get(key) != now[key]
    ]


def _anchor(record: EngineRecord, point: OperatingPoint, versions: Mapping[str, str]) -> Anchor:
    name = latency_name(50)
    found = record.figure(name)
    if found is None or found.upper is None:
        raise MeasurementError(f"{len(record.per_process.get(name, ()))} processes are too few to register a host by")
    return Anchor(
        runtime=record.runtime,
        version=versions[record.runtime],
        threads=point.threads,
        figure=found,
        per_process=record.per_process[name],
        digest=digest_of_path(anchor.FILE),
        registered_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _identity(probed: Mapping[str, Any]) -> dict[str, Any]:
    keys = ("machine", "system", "kernel", "cpu", "isa", "cores", "threads_per_core", "virtual", "hypervisor")
    return {key: probed.get(key) for key in keys}


def _conditions(state: Mapping[str, Any]) -> dict[str, Any]:
    affinity = state.get("affinity")
    return {
        "governor": state.get("governor"),
        "quota_cores": state.get("quota_cores"),
        "usable_cores": None if affinity is None else len(affinity),
        "power_mode": state.get("power_mode"),
    }


def _quotient(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one / other


def _threads(count: int) -> str:
    return "1 thread" if count == 1 else f"{count} threads"


def _text(value: object) -> str:
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(map(str, value)) or "not visible"
    return "not visible" if value is None else str(value)
