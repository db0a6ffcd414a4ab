"""The same share of channels from every group: the plain control other allocators have to beat."""

from __future__ import annotations

from edgekd.prune.allocator import Allocator, Problem
from edgekd.schema import Schema


class Uniform(Allocator):
    """Scans shares from all channels downwards and stops at the first that meets the limit."""

    class Config(Schema):
        """No options."""

    def widths(self, problem: Problem) -> dict[str, int]:
        """Return widths that are the same share of every group, rounded up to its ladder."""
        ladders, whole = problem.ladders, problem.whole
        shares = {rung / whole[name] for name, ladder in ladders.items() for rung in ladder}
        found = dict(whole)
        for share in sorted(shares, reverse=True):
            found = {
                name: min(rung for rung in ladder if rung >= min(share * whole[name], ladder[0]) - 1e-9)
                for name, ladder in ladders.items()
            }
            if problem.latency_ms(found) <= problem.limit_ms:
                break
        return found
