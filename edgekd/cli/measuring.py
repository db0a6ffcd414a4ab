"""What every command that measures engines has in common: its options, and whom it tells how far it is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from edgekd.connection.device import Device
    from edgekd.stage import Progress

Command = TypeVar("Command", bound=Callable[..., Any])

_OPTIONS = (
    click.option(
        "--data",
        type=click.Path(path_type=Path),
        default=None,
        metavar="FILE.npz",
        help="Arrays 'inputs' (or one per engine input, or a bundle's 'pixels') and 'labels'. Default: random inputs.",
    ),
    click.option(
        "--shape", "shapes", multiple=True, metavar="NAME=SIZES", help="Sizes of free dimensions: input=1,3,224,224."
    ),
    click.option(
        "--runtime", default=None, help="onnxruntime or openvino. Default: a bundle's choice, or the first installed."
    ),
    click.option("--threads", type=click.IntRange(1, 1024), default=None, help="Threads of one call. Default: 1."),
    click.option("--batch", type=click.IntRange(1, 4096), default=None, help="Samples of one call. Default: 1."),
)


percentile_option = click.option(
    "--percentile",
    type=click.FloatRange(50, 100, max_open=True),
    default=90,
    show_default=True,
    help="Of single calls.",
)

device_option = click.option(
    "--device",
    default=None,
    metavar="USER@HOST",
    help="Run engines there, by ssh: an address, or a name of the devices file. Default: this machine.",
)


def device_named(text: str | None) -> Device | None:
    """Return the device of an address or a name, None for none."""
    if text is None:
        return None
    from edgekd.connection.device import named

    return named(text)


def engine_options(command: Command) -> Command:
    """Add `--data`, `--shape`, `--runtime`, `--threads`, `--batch` and `--device` to a command."""
    for option in reversed((*_OPTIONS, device_option)):
        command = option(command)
    return command


def told(quiet: bool) -> Progress:
    """Return the progress for this output; unless it is to be quiet, what the package says goes to standard error."""
    import logging
    import sys

    from edgekd.cli.progress import best_for_this_output
    from edgekd.stage import Progress

    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    if quiet:
        return Progress()
    logging.getLogger("edgekd").setLevel(logging.INFO)
    return best_for_this_output()
