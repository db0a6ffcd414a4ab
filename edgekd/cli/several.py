"""What commands have in common that take several targets at once: whose device is meant, and how they tell the end."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from edgekd.cli.measuring import device_named
from edgekd.errors import UsageError

if TYPE_CHECKING:
    from edgekd.connection.device import Device
    from edgekd.pipeline.summary import Summary

Command = TypeVar("Command", bound=Callable[..., Any])


def target_options(command: Command) -> Command:
    """Add --target and --device, which may be repeated, and --run-folder."""
    target = click.option(
        "--target",
        "targets",
        multiple=True,
        help="A shipped target, a YAML file, 'host' or 'cpu' (this machine). Several: one run for all.",
    )
    device = click.option(
        "--device",
        "devices",
        multiple=True,
        metavar="[TARGET=]USER@HOST",
        help="Run engines there, by ssh: an address, or a name of the devices file. Default: this machine.",
    )
    folder = click.option(
        "--run-folder",
        type=click.Path(path_type=Path),
        default=None,
        help="Default: runs/RECIPE-TARGET; for several targets runs/RECIPE.",
    )
    return target(device(folder(command)))


def only_device(devices: Sequence[str]) -> Device | None:
    """Return the device of a run of one target, None for this machine; raises UsageError for several."""
    if len(devices) > 1:
        raise UsageError(f"--device is given {len(devices)} times; one target is measured on one device")
    return device_named(devices[0] if devices else None)


def devices_by_target(devices: Sequence[str]) -> list[tuple[str, Device]]:
    """Return the devices of a run of several targets with their targets; raises UsageError where one names none."""
    found = []
    for text in devices:
        target, names_it, address = text.partition("=")
        device = device_named(address) if names_it else None
        if device is None:
            raise UsageError(
                f"--device {text}: there are several targets, so say whose it is: --device TARGET={text}", text
            )
        found.append((target, device))
    return found


def tell_end(summary: Summary, *, as_json: bool) -> int:
    """Print the summary, as JSON or line by line, and return its exit code."""
    if as_json:
        click.echo(json.dumps(summary.plain(), indent=2))
    for line in summary.lines():
        click.echo(line, err=as_json)
    return summary.exit_code
