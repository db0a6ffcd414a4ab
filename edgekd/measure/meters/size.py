"""Size of an engine's files, all together and by type."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import ClassVar

from edgekd.figure import Figure
from edgekd.measure import meter
from edgekd.measure.engine import Engine
from edgekd.measure.meter import Reading, Setup
from edgekd.measure.repetition import write_lines


class Size(meter.Meter):
    """`size_mb` (MB of 10**6 bytes), counted; the raw line says how many bytes there are of each type of file."""

    name: ClassVar[str] = "size"
    produces: ClassVar[tuple[str, ...]] = ("size_mb",)

    def measure(self, engines: Sequence[Engine], setup: Setup) -> Reading:
        """Count the bytes of every engine's files."""
        counted = {engine.key: bytes_by_type(engine) for engine in engines}
        lines = {key: [{"size_bytes": sum(types.values()), "bytes_by_type": types}] for key, types in counted.items()}
        write_lines(self, setup, lines)
        return Reading(
            {
                key: (Figure(name="size_mb", value=sum(types.values()) / 1e6, origin="counted"),)
                for key, types in counted.items()
            }
        )


def bytes_by_type(engine: Engine) -> dict[str, int]:
    """Return how many bytes an engine's files have by their suffix, `.bin` and `.xml` for example."""
    found: Counter[str] = Counter()
    for file in engine.files:
        found[file.suffix or file.name] += file.stat().st_size
    return dict(sorted(found.items()))
