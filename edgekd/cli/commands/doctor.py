"""Look at this installation and machine, and give one command for everything that is wrong.

Exit code 0: all that is needed works. Exit code 2: something that is needed is broken. Nothing is ever installed.
With --cache: what the cache holds. With --prune: what edgekd made itself is deleted from it; downloads and registered
hosts stay. With --device: whether a device can be used by ssh, and what it is; exit code 6: it
cannot be.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from edgekd.errors import UsageError

if TYPE_CHECKING:
    from edgekd.cache import Entry
    from edgekd.cli.checkup import Finding


@click.command(help=__doc__, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--cache", "of_cache", is_flag=True, help="List the entries of the cache with size and age.")
@click.option(
    "--prune",
    is_flag=True,
    help="Delete teachers, their stores, shared weights and trials from the cache; not while a run goes on.",
)
@click.option(
    "--older-than", type=click.FloatRange(min=0), default=0, metavar="DAYS", help="With --prune: only entries that old."
)
@click.option(
    "--device",
    default=None,
    metavar="USER@HOST",
    help="Look at a device by ssh instead; exit code 6: it cannot be used.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON on standard output.")
def command(of_cache: bool, prune: bool, older_than: float, device: str | None, as_json: bool) -> int:
    """Run `edgekd doctor`; returns the exit code."""
    if device is not None:
        if of_cache or prune:
            raise UsageError("--device looks at a device, --cache and --prune at this machine; give one of them")
        return _device(device, as_json)
    if older_than and not prune:
        raise UsageError("--older-than says what --prune deletes; give both, or neither")
    if of_cache or prune:
        return _cache(prune, older_than, as_json)
    from edgekd.cli.checkup import examine

    found = list(examine())
    broken = [finding for finding in found if finding.level == "broken"]
    if as_json:
        click.echo(json.dumps([finding._asdict() for finding in found], indent=2))
    else:
        width = max(len(finding.subject) for finding in found)
        for finding in found:
            click.echo("\n".join(_lines(finding, width)))
        notes = sum(finding.level == "note" for finding in found)
        click.echo(_result([finding.subject for finding in broken], notes))
    return 2 if broken else 0


def _device(name: str, as_json: bool) -> int:
    from edgekd.connection import device
    from edgekd.connection.ssh import remote

    with remote(device.named(name)) as connection:
        found, known = connection.probe(), connection.target()
    if as_json:
        click.echo(json.dumps({**found, "target": known}, indent=2))
        return 0
    versions = ", ".join(f"{package} {version}" for package, version in sorted(found["versions"].items()))
    memory = f"{found['memory_mb'] / 1e3:.1f} GB" if found["memory_mb"] else "memory unknown"
    click.echo(f"{found.get('model') or found['cpu']}, {found['machine']}, {found['cores']} cores, {memory}")
    click.echo(f"Python {found['python']}, {versions or 'no runtime'}")
    if found["gpu"]:
        gpu = found["gpu"]
        click.echo(f"{gpu['name']}, compute capability {gpu['compute_capability']}, driver for CUDA {gpu['driver']}")
    click.echo(f"reached: {name} is {known or 'no shipped target'}")
    return 0


def _lines(finding: Finding, width: int) -> list[str]:
    line = f"{finding.level:6}  {finding.subject:{width}}  {finding.text}"
    return [line, f"{'':{width + 10}}fix: {finding.fix}"] if finding.fix else [line]


def _result(broken: list[str], notes: int) -> str:
    if broken:
        return f"broken: {', '.join(broken)}; run the command below each"
    return f"fine{f', {notes} note{_s(notes)}' if notes else ''}"


def _cache(prune: bool, older_than: float, as_json: bool) -> int:
    import time

    from edgekd import cache

    now = time.time()
    held = cache.entries()
    removed = [e for e in held if prune and e.made_here and now - e.modified >= older_than * 86400]
    for entry in removed:
        cache.remove(entry)
    if as_json:
        click.echo(json.dumps([_plain(entry, now, entry in removed) for entry in held], indent=2))
        return 0
    for entry in held:
        gone = ", deleted" if entry in removed else ""
        age = (now - entry.modified) / 86400
        click.echo(f"  {entry.kind}/{entry.name}  {entry.size_bytes / 1e6:.1f} MB, {age:.1f} days old{gone}")
    left = [entry for entry in held if entry not in removed]
    freed = f"; {len(removed)} deleted, {_megabytes(removed)} freed" if prune else ""
    click.echo(f"{cache.folder()}: {len(left)} entr{'y' if len(left) == 1 else 'ies'}, {_megabytes(left)}{freed}")
    return 0


def _plain(entry: Entry, now: float, deleted: bool) -> dict[str, object]:
    return {
        "kind": entry.kind,
        "name": entry.name,
        "path": str(entry.path),
        "size_bytes": entry.size_bytes,
        "age_days": round((now - entry.modified) / 86400, 3),
        "deleted": deleted,
    }


def _megabytes(entries: list[Entry]) -> str:
    return f"{sum(entry.size_bytes for entry in entries) / 1e6:.1f} MB"


def _s(count: int) -> str:
    return "" if count == 1 else "s"
