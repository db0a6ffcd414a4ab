"""Progress on a terminal: bars with an ETA; elsewhere plain lines, one every ten seconds at most."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import click

from edgekd.stage import Advance, Progress

_SECONDS_BETWEEN_LINES = 10.0


def best_for_this_output() -> Progress:
    """Return bars for a terminal, plain lines for a log."""
    return Bars() if sys.stderr.isatty() else Lines()


class Lines(Progress):
    """Plain lines on standard error."""

    @contextmanager
    def task(self, title: str, total: int) -> Iterator[Advance]:
        """Print a line when the task has run for ten seconds, then every ten seconds, and one when it took over two."""
        started = printed = time.monotonic()
        done = 0
        last = ""

        def advance(steps: int = 1, note: str = "") -> None:
            nonlocal done, printed, last
            done += steps
            last = note or last
            now = time.monotonic()
            if now - printed >= _SECONDS_BETWEEN_LINES and done < total:
                printed = now
                left = (now - started) / done * (total - done)
                click.echo(f"  {title}: {done}/{total}, {left:.0f} s left {last}".rstrip(), err=True)

        yield advance
        took = time.monotonic() - started
        if took > 2:
            click.echo(f"  {title}: done in {took:.0f} s {last}".rstrip(), err=True)


class Bars(Progress):
    """Rich progress bars on standard error."""

    @contextmanager
    def task(self, title: str, total: int) -> Iterator[Advance]:
        """Show one bar with the time left."""
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
        from rich.progress import Progress as RichProgress

        columns = (
            TextColumn("  {task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
        )
        with RichProgress(*columns, console=Console(stderr=True)) as bars:
            task = bars.add_task(title, total=total, note="")
            last = ""

            def advance(steps: int = 1, note: str = "") -> None:
                nonlocal last
                last = note or last
                bars.update(task, advance=steps, note=last)

            yield advance
