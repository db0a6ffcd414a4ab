"""What `edgekd doctor` looks at; every finding that is not fine comes with one command that mends it."""

from __future__ import annotations

import platform
import re
import shlex
import shutil
import sys
import time
from collections.abc import Iterator
from importlib import metadata
from typing import Any, Literal, NamedTuple

from edgekd import cache, catalogue
from edgekd.device import probe
from edgekd.errors import EdgekdError

Level = Literal["fine", "note", "broken"]

_REQUIREMENT = re.compile(r"""([\w.-]+)\s*(?:\[.*?\])?\s*>=\s*([\d.]+)[^;]*(?:;.*extra\s*==\s*['"]([\w-]+)['"])?""")
_RUNTIMES = ("onnxruntime", "openvino")
_SECONDS_WATCHED = 0.5
_LEAST_FREE_GB = 2.0
_REMEDIES = (
    ("governor", "sudo cpupower frequency-set --governor performance"),
    ("load average", "ps -e -o pcpu,pid,comm --sort=-pcpu | head"),
    ("hypervisor", "edgekd doctor  # again, when the host is less busy"),
    ("throttled", "edgekd doctor  # again, when the processor has cooled down"),
    ("clock", "edgekd doctor  # again, when the clocks are steady"),
)


class Finding(NamedTuple):
    """One thing that was looked at."""

    subject: str
    level: Level
    text: str
    fix: str = ""


class Requirement(NamedTuple):
    """A package edgekd can use: the least version, and the extra that asks for it ('' for every install)."""

    package: str
    least: str
    extra: str


def examine() -> Iterator[Finding]:
    """Yield every finding, what everything else needs first; stops where nothing further can be asked."""
    yield _python()
    requirements = _requirements()
    if requirements is None:
        yield Finding("edgekd", "note", "it is run from source, so its needs are not known", "pip install --editable .")
        requirements = []
    broken = False
    for finding in packages(requirements, _known_good()):
        broken = broken or finding.level == "broken"
        yield finding
    if broken:
        return  # what follows needs the packages
    yield _target()
    yield from machine_state()
    yield _disk()
    yield Finding("telemetry", "fine", "none: edgekd sends nothing, and keeps OpenVINO from sending")


def packages(requirements: list[Requirement], known_good: dict[str, str]) -> Iterator[Finding]:
    """Yield what is installed against the least version that works and the one that is tested."""
    extras = {requirement.extra for requirement in requirements if requirement.extra not in {"", "dev"}}
    used = {extra for extra in extras if _is_used(extra, requirements)}
    seen: set[str] = set()
    for requirement in requirements:
        wanted = requirement.extra == "" or requirement.extra in used
        if wanted and requirement.package not in seen:
            seen.add(requirement.package)
            yield _package(requirement, known_good.get(_canonical(requirement.package)))
    for extra in sorted(extras - used):
        yield Finding(extra, "note", "this extra is not installed", f"pip install 'edgekd[{extra}]'")


def _is_used(extra: str, requirements: list[Requirement]) -> bool:
    """Return whether somebody wants an extra: any package of its own is there (a runtime alone is its own extra)."""
    mine = [r.package for r in requirements if r.extra == extra]
    own = [package for package in mine if package not in _RUNTIMES] or mine
    return any(_version(package) for package in own)


def _package(requirement: Requirement, tested: str | None) -> Finding:
    package, found = requirement.package, _version(requirement.package)
    mend = f"pip install {shlex.quote(f'{package}=={tested}' if tested else f'{package}>={requirement.least}')}"
    need = f"needs {requirement.least} or newer"
    if found is None:
        return Finding(package, "broken", f"is missing; edgekd{_of(requirement)} {need}", mend)
    if _numbers(found) < _numbers(requirement.least):
        return Finding(package, "broken", f"{found} is too old; edgekd{_of(requirement)} {need}", mend)
    if tested is not None and _numbers(found) != _numbers(tested):
        return Finding(package, "note", f"{found}; edgekd is tested with {tested}", mend)
    return Finding(package, "fine", found)


def _of(requirement: Requirement) -> str:
    return f"[{requirement.extra}]" if requirement.extra else ""


def _python() -> Finding:
    try:
        least = metadata.metadata("edgekd")["Requires-Python"].removeprefix(">=")
    except metadata.PackageNotFoundError:
        least = ""
    found = platform.python_version()
    if _numbers(found) < _numbers(least):
        return Finding("Python", "broken", f"{found} is too old; edgekd needs {least}", f"python{least} -m venv .venv")
    return Finding("Python", "fine", f"{found} ({sys.executable})")


def _requirements() -> list[Requirement] | None:
    """Return what edgekd's own metadata ask for, None when it is not installed."""
    try:
        lines = metadata.requires("edgekd") or []
    except metadata.PackageNotFoundError:
        return None
    found = [match for match in map(_REQUIREMENT.match, lines) if match]
    return [Requirement(match[1], match[2], match[3] or "") for match in found]


def _known_good() -> dict[str, str]:
    """Return the locked versions the test suite runs with, by canonical name."""
    try:
        lines = catalogue.file("constraints.txt").read_text(encoding="utf-8").splitlines()
    except OSError:
        return {}
    pairs = (line.partition("==") for line in lines if "==" in line)
    return {_canonical(name): version.strip() for name, _, version in pairs}


def _target() -> Finding:
    from edgekd import target
    from edgekd.measure import machine

    try:
        name = machine.host_target()
    except EdgekdError as error:
        return Finding("target", "broken" if _version("torch") else "note", str(error), "edgekd targets")
    facts = probe.identity()
    isa = ", ".join(target.load(name).isa)
    return Finding("target", "fine", f"host is {name} ({facts['cpu']}, {facts['cores']} cores, {isa})")


def machine_state() -> Iterator[Finding]:
    """Yield why figures taken now would be doubted, and what else a reader of them should know."""
    before = probe.state()
    time.sleep(_SECONDS_WATCHED)
    yield from judged([before, probe.state()])


def judged(states: list[dict[str, Any]]) -> Iterator[Finding]:
    """Yield a finding for every sentence measurements would carry, or one that says how quiet the machine is."""
    from edgekd.measure import machine

    sentences = [*machine.doubts(states), *machine.remarks(states)]
    for sentence in sentences:
        fix = next((fix for word, fix in _REMEDIES if word in sentence), "edgekd doctor  # again, in a while")
        yield Finding("machine", "note", sentence, fix)
    if not sentences:
        state = states[-1]
        clocks = f"clocks up to {max(state['clocks_mhz']):.0f} MHz, " if state.get("clocks_mhz") else ""
        load = f"load average {state['load'][0]:.1f}" if state.get("load") else "load unknown"
        yield Finding("machine", "fine", f"{clocks}{load}, governor {', '.join(state['governor']) or 'not visible'}")


def _disk() -> Finding:
    place = cache.folder()
    held = cache.entries()
    size = sum(entry.size_bytes for entry in held) / 1e6
    text = f"{place}: {len(held)} entries, {size:.1f} MB"
    there = next(folder for folder in (place, *place.absolute().parents) if folder.exists())
    free = shutil.disk_usage(there).free / 1e9
    if free < _LEAST_FREE_GB:
        return Finding("cache", "note", f"{text}; only {free:.1f} GB of disk left there", "edgekd doctor --prune")
    return Finding("cache", "fine", f"{text}; {free:.0f} GB of disk left there")


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _numbers(version: str) -> tuple[int, ...]:
    """Return the release part of a version as numbers without zeros at the end: (2, 13) of 2.13.0+cpu."""
    match = re.match(r"\d+(?:\.\d+)*", version)
    numbers = [int(part) for part in match[0].split(".")] if match else []
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name.strip()).lower()
