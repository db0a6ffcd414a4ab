"""What somebody sends in who has measured a target nobody had measured: figures and machine, and nothing about him."""

from __future__ import annotations

from pathlib import Path

from edgekd import __version__
from edgekd.gate.profiling import Profiled
from edgekd.schema import write_text
from edgekd.yaml_file import dump_yaml

FILE = "contribution.yaml"
_MACHINE = ("machine", "system", "cpu", "model", "gpu", "isa", "cores", "threads_per_core", "memory_mb", "virtual")


def contributed(found: Profiled, folder: Path) -> Path:
    """Write what is to be sent in and return the file; it holds no names of hosts, users, files or networks."""
    profile, record = found.profile, found.record
    told = {
        "target": profile.target,
        "edgekd": __version__,
        "machine": {key: profile.machine.get(key) for key in _MACHINE},
        "versions": dict(profile.versions),
        "runtime": record.runtime,
        "operating_point": record.operating_point.plain(),
        "engine_digest": record.digest,
        "figures": [figure.plain() for figure in record.figures],
        "anchor": [figure.plain() for figure in profile.records[1].figures],
        "layers": [{"op": layer.op, "executed_as": layer.executed_as, "ms": layer.ms} for layer in record.layers],
        "remarks": list(profile.machine["remarks"]),
    }
    write_text(dump_yaml(told), folder / FILE)
    return folder / FILE
