"""Print as Markdown what can be cut in the networks pruning is tested with: python -m tools.write_pruning_table."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

from edgekd.models.kernels import macs
from edgekd.models.stand_in import opened
from edgekd.prune.trial import Prunable, prunable
from tests.architectures import ARCHITECTURES, PRUNED_TOO, inputs, settled

NAMES = (*ARCHITECTURES, *PRUNED_TOO)


class Reach(NamedTuple):
    """What can be cut in a network."""

    groups: int
    """Sets of channels, without heads and widths of heads."""
    heads: int
    """Attention layers that can lose heads."""
    head_widths: int
    units: int
    """Channels, heads and dimensions of heads that can go one by one."""
    blocks: int
    """Residual blocks that can be taken out whole."""
    macs_percent: float
    """Of all multiplications, those that are gone where each group has one channel left."""
    fixed: tuple[str, ...]


def reach(found: Prunable) -> Reach:
    """Return what a trial has found in figures."""
    kinds = Counter(group.kind for group in found.groups)
    least = found.kernels.at(dict.fromkeys(found.widths, 1))
    return Reach(
        kinds["channels"],
        kinds["heads"],
        kinds["head width"],
        sum(found.widths.values()),
        len(found.blocks),
        100 * (1 - macs(least) / macs(found.kernels.whole)),
        tuple(found.fixed),
    )


def table() -> str:
    """Return the table."""
    head = "network | groups of channels | attentions that lose heads | … head width | units | removable blocks"
    lines = [f"| {head} | reachable MACs | fixed |", "| --- " + "| ---: " * 6 + "| --- |"]
    for name in NAMES:
        found = reach(prunable(opened(settled(name)), tuple(inputs(name, 1).shape[1:])))
        figures = [*found[:5], f"{found.macs_percent:.1f} %", ", ".join(f"`{path}`" for path in found.fixed)]
        lines.append(f"| {name} | {' | '.join(map(str, figures))} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(table())
