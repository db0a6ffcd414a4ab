"""Registers this machine: measures the anchor in every runtime wanted and writes down what it found."""

from __future__ import annotations

from collections.abc import Sequence

from edgekd.budget import OperatingPoint
from edgekd.connection.connection import Connection
from edgekd.disk import scratch
from edgekd.errors import TargetError, UsageError, suggestion
from edgekd.measure import anchor
from edgekd.measure.decision import REGISTERED_PROCESSES
from edgekd.measure.host import Host, register
from edgekd.measure.series import measure
from edgekd.runtime.session import RUNTIMES
from edgekd.stage import Progress


def register_at(
    connection: Connection, runtimes: Sequence[str], threads: int, processes: int | None, progress: Progress
) -> Host:
    """Measure the anchor interleaved in `runtimes` (without any: all that are installed) and register the machine.

    Raises UsageError for an unknown runtime, TargetError when one is not installed, MeasurementError when the machine
    is in no state to be registered.
    """
    for name in runtimes:
        if name not in RUNTIMES:
            raise UsageError(f"unknown runtime '{name}'; {suggestion(name, RUNTIMES)}")
    wanted = [name for name in RUNTIMES if (name in runtimes if runtimes else connection.has(name))]
    missing = [name for name in wanted if not connection.has(name)] if wanted else list(RUNTIMES)
    if missing:
        commands = " or ".join(f"pip install 'edgekd[{name}]'" for name in missing)
        raise TargetError(f"{' and '.join(missing)} not installed; run: {commands}")
    most = connection.cores()
    if threads > most:
        raise UsageError(f"{threads} threads cannot run at once on the {most} cores a process may use there")
    point = OperatingPoint(threads=threads)
    with scratch("edgekd-host") as folder:
        engines = [anchor.engine(name, folder) for name in wanted]
        series = measure(
            engines,
            engines[0].inputs or folder,
            point,
            50,
            processes=processes or REGISTERED_PROCESSES,
            raw=folder / "anchor.jsonl",
            progress=progress,
            title="anchor",
            origin="device",
            connection=connection,
        )
    return register(series, point, connection.probe())
