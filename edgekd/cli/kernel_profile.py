"""`edgekd profile --kernels`: what a target's fused kernels cost, from networks drawn for it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

if TYPE_CHECKING:
    from edgekd.connection.connection import Connection
    from edgekd.kernel import KernelProfile
    from edgekd.profile import Profile
    from edgekd.stage import Progress


class KernelsAsked(NamedTuple):
    """What the command line says about a kernel profile."""

    time_limit_s: float
    error_limit_percent: float | None
    threads: int | None
    runtime: str | None
    reanchor: bool
    file: Path | None


def profile_of_kernels(
    target: str, connection: Connection, asked: KernelsAsked, as_json: bool, progress: Progress
) -> int:
    """Measure or correct the kernel profile of a machine, write it and say what is in it; returns the exit code."""
    from edgekd.errors import ExitCode
    from edgekd.gate.profiling import measured_as
    from edgekd.kernels.profiling import Limits, profile_kernels
    from edgekd.kernels.reanchoring import reanchored
    from edgekd.predict import known

    device = measured_as(target, connection)
    file = asked.file or known.own_file(device.name)
    if asked.reanchor:
        profile, _ = reanchored(known.load(known.required(device, asked.file)), progress, connection)
    else:
        limit = None if asked.error_limit_percent is None else asked.error_limit_percent / 100
        runtimes = [asked.runtime] if asked.runtime else list(device.runtimes)
        limits = Limits(asked.time_limit_s, limit)
        profile = profile_kernels(device, runtimes, asked.threads or device.threads, limits, progress, connection)
    known.save(profile, file)
    doubts = profile.machine["doubts"]
    lines = [*_lines(profile), *(f"note: {remark}" for remark in profile.machine["remarks"])]
    click.echo(json.dumps(_summary(profile), indent=2) if as_json else "\n".join(lines))
    outcome = f"not trustworthy: {'; '.join(doubts)}" if doubts else "profiled"
    click.echo(f"{outcome}: kernels of {profile.target}: {file}", err=as_json)
    return ExitCode.NOT_TRUSTWORTHY if doubts else 0


def refined_by(target: str, network: Path, measured: Profile) -> list[str]:
    """Add an engine's layer table to the user's own kernel profile, where there is one it fits; returns what to say."""
    from edgekd.kernels.refining import refined
    from edgekd.predict import known

    file = known.own_file(target)
    if not file.is_file() or network.suffix != ".onnx":
        return []
    found = refined(known.load(file), network, measured)
    if found is None:
        return []
    known.save(found, file)
    return [f"its layers are a further probe of the kernel profile {file}"]


def _lines(profile: KernelProfile) -> list[str]:
    """Return what was learned of each runtime, a line each."""
    return [
        f"{row['runtime']} {row['version']}: {row['probes']} probes, {row['kernels']} kernels of {row['codes']} codes; "
        f"left-out probes are predicted with a median error of {row['error_percent']:.1f} %"
        for row in _summary(profile)
    ]


def _summary(profile: KernelProfile) -> list[dict[str, str | int | float]]:
    rows: list[dict[str, str | int | float]] = []
    for runtime, fit in profile.fits.items():
        probes = [probe for probe in profile.probes if probe.runtime == runtime]
        rows.append(
            {
                "runtime": runtime,
                "version": profile.versions.get(runtime, "unknown"),
                "probes": len(probes),
                "kernels": sum(len(probe.kernels) for probe in probes),
                "codes": len({timed.kernel.code for probe in probes for timed in probe.kernels}),
                "error_percent": 100 * fit.error,
                "seconds": profile.machine["seconds"],
            }
        )
    return rows
