"""List the devices edgekd knows, or show one with every number and its source.

NAME is a shipped target, the path of a YAML file, or 'host' or 'cpu' for this machine.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from edgekd.errors import TargetError

if TYPE_CHECKING:
    from edgekd.target import Target


@click.command(help=__doc__, context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("name", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print JSON on standard output.")
def command(name: str | None, as_json: bool) -> int:
    """Run `edgekd targets`; returns the exit code."""
    from edgekd import target
    from edgekd.measure import machine

    try:
        host, unknown = machine.host_target(), ""
    except TargetError as error:
        host, unknown = None, str(error)
    if name is not None:
        if host is None and name in _aliases():
            raise TargetError(unknown)
        shown = target.load(name, host)
        click.echo(json.dumps(shown.plain(), indent=2) if as_json else "\n".join(_sheet(shown, name, host)))
        return 0
    rows = _rows(host)
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return 0
    width = max(len(row["name"]) for row in rows)
    for row in rows:
        click.echo(f"{row['name']:{width}}  {row['title']}{'' if row['verified'] else ' (unverified)'}")
    click.echo(f"this machine is {host}" if host else unknown)
    return 0


def _aliases() -> dict[str, str]:
    """Return every name that stands for another, and which."""
    from edgekd import catalogue
    from edgekd.schema import read_yaml

    found = {name: read_yaml(catalogue.find("targets", name))[0].get("same_as") for name in catalogue.names("targets")}
    return {"host": "this machine"} | {name: other for name, other in found.items() if other is not None}


def _rows(host: str | None) -> list[dict[str, Any]]:
    """Return name, title and resolution of every target, exact ones first."""
    from edgekd import catalogue, target

    aliases = _aliases()
    exact = [target.load(name) for name in catalogue.names("targets") if name not in aliases]
    rows: list[dict[str, Any]] = [
        {
            "name": t.name,
            "title": t.title,
            "resolves_to": t.name,
            "this_machine": t.name == host,
            "verified": t.verified,
        }
        for t in exact
    ]
    for name in aliases:
        resolved = _resolved(name, host)
        rows.append(
            {
                "name": name,
                "title": f"another name for {resolved.name}" if resolved else "no shipped target fits this machine",
                "resolves_to": resolved.name if resolved else None,
                "this_machine": resolved is not None and resolved.name == host,
                "verified": resolved is not None and resolved.verified,
            }
        )
    return rows


def _resolved(name: str, host: str | None) -> Target | None:
    from edgekd import target
    from edgekd.errors import UsageError

    try:
        return target.load(name, host)
    except UsageError:
        return None  # the way to an exact target leads over this machine, which is none


def _sheet(shown: Target, asked: str, host: str | None) -> list[str]:
    """Return everything that is known about a target, each number with its source."""
    resolved = f" ({asked} resolves to it)" if asked != shown.name else ""
    lines = [
        f"{shown.name}: {shown.title}{resolved}",
        f"  machine: {shown.machine}, has {_listed(shown.isa)}, lacks {_listed(shown.lacks)}",
        f"  runtimes, best first: {_listed(shown.runtimes)}",
        f"  precisions that run fast: {_listed(shown.precisions)}",
        f"  threads: {shown.threads}",
    ]
    for runtime, quantization in shown.quantization.items():
        lines.append(f"  quantization in {runtime}: {quantization.scheme}; source: {quantization.source}")
    for precision, step in shown.channel_step.items():
        lines.append(f"  channel step in {precision}: {step.value:g}; source: {step.source}")
    here = "this machine" if shown.name == host else "not this machine"
    return [*lines, f"{'verified: measured with edgekd' if shown.verified else 'unverified'}, {here}"]


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(names) or "nothing"
