"""Any network, each as likely as the other: the control that every other sampler has to beat."""

from __future__ import annotations

from edgekd.search.sampler import Sampler
from edgekd.search.space import Point


class Random(Sampler):
    """Never the same network twice; looks at no cost."""

    def propose(self) -> Point:
        """Return any network."""
        return self.anywhere()
