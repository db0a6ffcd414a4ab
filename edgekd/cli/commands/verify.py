"""Check every digest of a bundle and print what it holds.

Exit code 0: every file is what the manifest says. Exit code 2: it is not, and the damaged file is named.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from edgekd.bundle import Manifest


@click.command(help=__doc__, context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print the manifest as JSON on standard output.")
def command(bundle: Path, as_json: bool) -> int:
    """Run `edgekd verify`; returns the exit code."""
    from edgekd import bundle as bundles

    manifest = bundles.verify(bundle)
    if as_json:
        click.echo(json.dumps(manifest.plain(), indent=2))
    else:
        click.echo("\n".join(_lines(manifest, bundle)))
    return 0


def _lines(manifest: Manifest, folder: Path) -> list[str]:
    shape = " x ".join(str(size) for size in manifest.input.shape[1:])
    lines = [
        f"{manifest.name} for {manifest.target}: {manifest.input.dtype} {shape} in, "
        f"{len(manifest.class_names)} classes out"
    ]
    for runtime, engine in sorted(manifest.engines.items(), key=lambda item: item[0] != manifest.chosen):
        chosen = ", chosen" if runtime == manifest.chosen else ""
        lines.append(
            f"  {runtime}, {manifest.variants[engine.variant].network} in {engine.variant}{chosen}: {engine.path}"
        )
        lines += [f"    {figure.name} {figure.text()} (n={figure.samples})" for figure in engine.figures]
    size = sum((folder / name).stat().st_size for name in manifest.files) / 1e6
    return [*lines, f"whole: {len(manifest.files)} files, {size:.2f} MB, every digest holds"]
