"""What an engine answers, wherever it runs: inputs go there, its first output comes back as a file."""

from __future__ import annotations

from pathlib import Path

from edgekd.connection.connection import Connection

TIMEOUT_S = 1800.0


def write_answers(
    connection: Connection, label: str, runtime: str, engine: str, inputs: Path, *, destination: Path, batch: int
) -> None:
    """Write what an engine answers to the inputs (N, ...), its first output (N, ...), as an .npy file.

    `engine` is where the connection's processes find it, `inputs` an .npy file or a folder with one per engine input,
    here. The file appears complete or not at all. Raises what `Child.ask` raises.
    """
    request = {"verb": "evaluate", "runtime": runtime, "threads": 1, "batch": batch}
    paths = {"engine": engine, "inputs": connection.sent(inputs)}
    with connection.receiving(destination) as written, connection.start(label) as child:
        child.ask({**request, **paths, "outputs": written}, TIMEOUT_S)
