"""Brings a kernel profile to another version of a runtime: some of its probes again, and the drift stated."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from scipy import special

from edgekd.connection.connection import Connection
from edgekd.disk import scratch
from edgekd.errors import MeasurementError, TargetError
from edgekd.fuse.fusion import rules
from edgekd.kernel import KernelProfile, Probe, Shape, TimedKernel
from edgekd.kernels.bench import Bench
from edgekd.kernels.session import Session
from edgekd.measure import machine
from edgekd.stage import Progress

_NETWORKS = 40
MOST_SCATTER = 0.08
"""Standard deviation of the drift over probes, above which one factor does not describe it."""
_UNDISTURBED = 0.8
"""Share of the probes by which the scatter is judged: changed kernels must show in it, a few disturbed probes not."""
_DRAWN = re.compile(r"^[a-z-]+-(\d+)$")


def reanchored(profile: KernelProfile, progress: Progress, connection: Connection) -> tuple[KernelProfile, list[str]]:
    """Measure probes of the profile again; return it at today's versions, and the drift of each engine in a sentence.

    One factor a scheme and runtime is applied. Raises TargetError when the profile is of another processor,
    MeasurementError when kernels drifted so differently that one factor would not do.
    """
    identity, versions = machine.identified(connection.probe())
    if identity["cpu"] != profile.machine.get("cpu"):
        raise TargetError(
            f"the profile was measured on {profile.machine.get('cpu')}, this is {identity['cpu']}: there is nothing to "
            f"correct; measure anew with: edgekd profile --target {profile.target} --kernels"
        )
    keys = list(dict.fromkeys((probe.scheme, probe.runtime) for probe in profile.probes))
    fusions = rules(dict.fromkeys(runtime for _, runtime in keys), profile.isa)
    chosen = numbers(profile.probes)
    with (
        connection.locked(),
        scratch("edgekd-probes") as folder,
        Bench(connection, profile.threads) as bench,
        progress.task(f"probes of {profile.target} again", len(chosen)) as advance,
    ):
        session = Session(bench, list(dict.fromkeys(s for s, _ in keys)), fusions, folder)
        for number in chosen:
            session.again(number)
            advance(1)
        again = {(probe.name, probe.scheme, probe.runtime): probe for probe in session.probes()}
        anchors = session.anchor_ms()
    factors, said = {}, []
    for scheme, runtime in keys:
        factors[scheme, runtime], sentence = _drift(profile, again, scheme, runtime, versions)
        said.append(sentence)
    probes = tuple(_slowed(probe, factors[probe.scheme, probe.runtime]) for probe in profile.probes)
    machine_now = {**profile.machine, "remarks": [*profile.machine["remarks"], *said]}
    return (
        profile.model_copy(
            update={
                "probes": probes,
                "anchor_ms": anchors,
                "machine": machine_now,
                "versions": versions,
            }
        ),
        said,
    )


def numbers(probes: Sequence[Probe]) -> list[int]:
    """Return the numbers of networks spread over the profile, those that were measured in every form."""
    found = list(dict.fromkeys(int(match[1]) for probe in probes if (match := _DRAWN.match(probe.name))))
    return [found[i] for i in np.linspace(0, len(found) - 1, min(_NETWORKS, len(found))).round().astype(int)]


def _drift(
    profile: KernelProfile,
    again: dict[tuple[str, str, str], Probe],
    scheme: str,
    runtime: str,
    versions: dict[str, str],
) -> tuple[float, str]:
    changes = [
        np.log(found.ms / probe.ms)
        for probe in profile.probes
        if (probe.scheme, probe.runtime) == (scheme, runtime)
        if (found := again.get((probe.name, scheme, runtime))) is not None and _weights(found) == _weights(probe)
    ]
    if len(changes) < _NETWORKS // 4:
        raise MeasurementError(
            f"only {len(changes)} probes of {scheme} on {runtime} could be measured again; if another edgekd made the "
            f"profile, measure anew with: edgekd profile --target {profile.target} --kernels"
        )
    middle = float(np.median(changes))
    away = np.quantile(np.abs(np.array(changes) - middle), _UNDISTURBED)
    scatter = float(away / special.ndtri((1 + _UNDISTURBED) / 2))
    was, now = profile.versions.get(runtime, "unknown"), versions.get(runtime, "unknown")
    said = (
        f"{scheme}/{runtime} {was} -> {now}: drift {np.expm1(middle):+.1%}, scatter {scatter:.1%} "
        f"over {len(changes)} probes"
    )
    if scatter > MOST_SCATTER:
        raise MeasurementError(
            f"{said}: kernels changed differently and one factor does not describe it; measure anew with: "
            f"edgekd profile --target {profile.target} --kernels"
        )
    return float(np.exp(middle)), said


def _weights(probe: Probe) -> list[Shape]:
    """Return the shapes of all weights: another edgekd may draw another network for a number."""
    return sorted(timed.kernel.weights for timed in probe.kernels)


def _slowed(probe: Probe, factor: float) -> Probe:
    kernels = tuple(TimedKernel(kernel, None if ms is None else ms * factor) for kernel, ms in probe.kernels)
    return probe.model_copy(update={"ms": probe.ms * factor, "rows_ms": probe.rows_ms * factor, "kernels": kernels})
