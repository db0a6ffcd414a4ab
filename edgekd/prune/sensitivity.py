"""How much hangs on each group alone: it is cut, the rest stays whole, nothing is trained (Li et al. 2017).

"Pruning Filters for Efficient ConvNets", section 3.2. The paper's: one layer at a time loses its least important
filters, and the network is judged as it is. Our choice: layers whose channels go together are cut together, in the
steps of the target, BatchNorm is renewed as after every cut of the stage, and beside the accuracy stands what the cut
saves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from torch import nn

from edgekd.prune.allocator import Problem, kept
from edgekd.prune.cut import Cut, Cutter, perform
from edgekd.prune.samples import renew_statistics
from edgekd.prune.trial import Prunable

SHARES = (0.5, 0.25)
"""Of a group's channels that stay."""


@dataclass(frozen=True)
class Sensitivity:
    """One group, cut alone."""

    group: str
    channels: int
    width: int
    """Channels that stay."""
    accuracy_percent: float
    saved: float
    """Share of the whole network's predicted cost."""

    def text(self) -> str:
        """Return it in words."""
        saved = f"{100 * self.saved:.1f} % saved"
        return f"{self.group} {self.channels} -> {self.width}: {self.accuracy_percent:.2f} %, {saved}"


def sensitivities(
    model: nn.Module, found: Prunable, cutter: Cutter, judge: Callable[[nn.Module], float]
) -> Iterator[Sensitivity]:
    """Yield each group at the widest widths of its ladder that are at most SHARES; one that has none is left out.

    `judge` returns an accuracy in percent. Raises EdgekdError as a cut does.
    """
    scores = cutter.scores(model, found)
    units = {group.name: group.unit for group in found.groups}
    ladders = Problem(scores, {}, cutter.step, lambda _: 0.0, 0.0, units).ladders
    whole = cutter.cost.of(found.kernels.whole)
    for name, channels in found.widths.items():
        below = [[width for width in ladders[name] if width <= share * channels] for share in SHARES]
        for width in dict.fromkeys(widths[0] for widths in below if widths):
            cut = Cut(kept={**_everything(found), name: kept(scores[name], width)})
            alone = perform(model, found, cut)
            renew_statistics(alone, cutter.samples)
            saved = 1 - cutter.cost.of(found.kernels.at({name: width})) / whole
            yield Sensitivity(name, channels, width, judge(alone), saved)


def _everything(found: Prunable) -> dict[str, tuple[int, ...]]:
    return {name: tuple(range(channels)) for name, channels in found.widths.items()}
