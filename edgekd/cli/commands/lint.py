"""Say what keeps a quantized ONNX file from running in integers on a target's runtimes, node by node.

Exit codes: 0 nothing found, 2 wrong usage, 7 something found.
"""

from __future__ import annotations

import json
from pathlib import Path

import click


@click.command(help=__doc__, context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("model", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--target", default="host", show_default=True, help="A target's name or file, or 'host': this machine.")
@click.option("--runtime", default=None, help="Default: every one of the target.")
@click.option("--json", "as_json", is_flag=True, help="Print only JSON on standard output.")
def command(model: Path, target: str, runtime: str | None, as_json: bool) -> int:
    """Run `edgekd lint`; returns the exit code."""
    from edgekd import target as targets
    from edgekd.errors import ExitCode
    from edgekd.measure import machine
    from edgekd.onnx_graph import source
    from edgekd.quantize.lint import lint

    device = targets.load(target, machine.host_target() if target in {"host", "cpu"} else None)
    network, _ = source.opened(model)
    most = device.software.opset_most if device.software is not None else None
    found = {name: lint(network, name, most) for name in ((runtime,) if runtime else device.runtimes)}
    if as_json:
        click.echo(json.dumps({name: [one._asdict() for one in faults] for name, faults in found.items()}, indent=2))
    else:
        for name, faults in found.items():
            click.echo("\n".join(f"{name}: {one.text()}" for one in faults) or f"{name}: nothing found")
    count = sum(map(len, found.values()))
    click.echo(f"{count} findings in {model.name}" if count else f"clean: {model.name}", err=as_json)
    return ExitCode.EXPORT if count else ExitCode.MET
