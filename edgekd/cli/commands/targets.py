"""List the devices edgekd knows, show one with every number and its source, or register this machine.

`edgekd targets` lists all, `edgekd targets NAME` shows one: a shipped target, the path of a YAML file, or 'host' or
'cpu' for this machine. `register-host` makes milliseconds count here.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from edgekd.cli.measuring import device_named, device_option
from edgekd.errors import TargetError

if TYPE_CHECKING:
    from edgekd.measure.host import Host
    from edgekd.target import Fact, Software, Sourced, Target


_NAMES = {"help_option_names": ["-h", "--help"]}


class _ShowsByDefault(click.Group):
    """A group in which `edgekd targets NAME` means `edgekd targets show NAME`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put `show` before arguments that name no command."""
        asks_for_help = bool(args) and args[0] in _NAMES["help_option_names"]
        if not asks_for_help and not any(argument in self.commands for argument in args):
            args = ["show", *args]
        return super().parse_args(ctx, args)


@click.group(cls=_ShowsByDefault, help=__doc__, context_settings=_NAMES)
def command() -> None:
    """Run `edgekd targets`; the command returns the exit code."""


@command.command(context_settings=_NAMES)
@click.argument("name", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print JSON on standard output.")
def show(name: str | None, as_json: bool) -> int:
    """List all targets, or show NAME with every number and its source."""
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
        click.echo(f"{row['name']:{width}}  {row['title']}{_standing(row)}")
    click.echo(f"this machine is {host}" if host else unknown)
    return 0


@command.command("register-host", context_settings=_NAMES)
@click.option("--runtime", "runtimes", multiple=True, help="Default: every runtime that is installed.")
@device_option
@click.option("--threads", type=click.IntRange(1, 1024), default=1, show_default=True, help="Of the operating point.")
@click.option("--processes", type=click.IntRange(11, 1000), default=None, help="Default: twice a gate's.")
@click.option("--json", "as_json", is_flag=True, help="Print the registration as JSON on standard output.")
@click.option("--quiet", is_flag=True, help="No progress.")
def register_host(
    runtimes: tuple[str, ...], device: str | None, threads: int, processes: int | None, as_json: bool, quiet: bool
) -> int:
    """Write down who this machine is and how fast it runs now, so that `edgekd gate` may judge milliseconds on it.

    A small fixed network, the anchor, is measured in fresh processes. Every gate measures it again and knows whether
    the machine still runs as it did. Register it when it is quiet and cool, as it will be when it is gated; again after
    a new runtime. Exit code 5: the machine is not in a state to be registered.
    """
    from edgekd.cli.measuring import told
    from edgekd.connection.ssh import at
    from edgekd.measure import host
    from edgekd.measure.registration import register_at

    with at(device_named(device)) as connection:
        found = register_at(connection, runtimes, threads, processes, told(quiet))
        place = host.place(connection.probe())
    if as_json:
        click.echo(json.dumps(found.plain(), indent=2))
    click.echo("\n".join(_registration(found, str(place))), err=as_json)
    return 0


def _registration(found: Host, place: str) -> list[str]:
    facts, at = found.identity, found.conditions
    lines = [
        f"{facts['cpu']}, {facts['machine']}, {facts['cores']} cores, {at['usable_cores']} usable, governor "
        f"{_listed(tuple(at['governor'] or ())) if at['governor'] else 'not visible'}"
    ]
    for held in found.anchors:
        threads = f"{held.threads} thread{'' if held.threads == 1 else 's'}"
        lines.append(
            f"  {held.runtime} {held.version}, {threads}: the anchor takes {held.figure.text()} ms "
            f"(median of {held.figure.samples} processes, {held.registered_at})"
        )
    return [*lines, f"registered: milliseconds count on this host; kept in {place}"]


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
            "predict_only": t.predict_only is not None,
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
                "predict_only": resolved is not None and resolved.predict_only is not None,
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
        lines.append(f"  quantization in {runtime}: {quantization.scheme}; {_origin(quantization)}")
    for name, fact in (*_facts(shown), *(shown.board or ())):
        if fact is not None:
            lines.append(f"  {name}: {fact.value:g}; {_origin(fact)}")
    for precision, step in shown.channel_step.items():
        lines.append(f"  channel step in {precision}: {step.value:g}; {_origin(step)}")
    if shown.sparsity is not None:
        lines.append(f"  2:4 sparsity: {'pays' if shown.sparsity.pays else 'saves nothing'}; {_origin(shown.sparsity)}")
    if shown.software is not None:
        lines.append(f"  software: {_software(shown.software)}; {_origin(shown.software)}")
    if shown.predict_only:
        lines.append(f"  predict-only: {shown.predict_only}")
    here = "this machine" if shown.name == host else "not this machine"
    return [*lines, f"{'verified: measured with edgekd' if shown.verified else 'unverified'}, {here}"]


def _facts(shown: Target) -> list[tuple[str, Sourced | None]]:
    return [(name, getattr(shown, name)) for name in ("memory_gb", "compute_capability", "dla")]


def _software(shown: Software) -> str:
    typed = "strongly typed" if shown.strongly_typed else "precision by builder flags"
    return f"JetPack {shown.jetpack}, TensorRT {shown.tensorrt}, ONNX opset {shown.opset_most} at most, {typed}"


def _origin(fact: Fact) -> str:
    return f"source: {fact.source} ({fact.evidence})"


def _standing(row: dict[str, Any]) -> str:
    said = ["predict-only"] if row["predict_only"] else []
    said += [] if row["verified"] else ["unverified"]
    return f" ({', '.join(said)})" if said else ""


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(names) or "nothing"
