"""How much of the best trade-offs do samplers find? On cells whose latency others have measured on fourteen devices.

    python -m tools.study_samplers [--devices gold_6226,raspi4] [--samplers random,sms-ego] [--seeds 5] [--blind]

All 15,625 cells of NAS-Bench-201, two costs: the measured latency, and minus a score that ranks cells like their
accuracy (NASWOT, tools/write_naswot.py; the published accuracies are not at hand). A search looks at 100 cells; its
share is the hypervolume of what it saw by that of the whole table. To look at a cell is to score it; its latency is
foreseen, as the stage `trials` foresees what it predicts; with `--blind` it is not. The reference point is the slowest
cell and the score that one cell in ten does not reach, so that nobody is rewarded for cells without a path. Prints mean
and least share over devices and seeds, and how far each sampler is ahead of `random`, paired, with a 95 % interval over
devices. Exits with 1 when no sampler has a mean share of 0.98. One thread, minutes; nothing is measured.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from edgekd.search.front import hypervolume
from edgekd.search.sampler import SAMPLERS, Grid, create
from edgekd.search.space import Axis, Point
from tests.predict import nas_bench_201
from tools.bench_losses import interval

GRID = Grid((Axis(len(nas_bench_201.OPERATORS), ordered=False),) * len(nas_bench_201.EDGES))
EVALUATIONS, GOAL = 100, 0.98


class Cells:
    """The table of one device."""

    def __init__(self, device: str) -> None:
        devices, latencies = nas_bench_201.latencies()
        scores = nas_bench_201.naswot()
        self.costs: NDArray[np.float64] = np.stack([latencies[:, devices.index(device)], -scores], axis=1)
        """(15625, 2): latency in ms, and minus the score."""
        self._rows = {tuple(int(kind) for kind in cell): row for row, cell in enumerate(nas_bench_201.cells())}
        self._reference = float(self.costs[:, 0].max()), -float(np.quantile(scores, 0.1))
        self._whole = hypervolume(self.costs, self._reference)

    def searched(self, name: str, seed: int, *, blind: bool = False) -> list[Point]:
        """Return the cells that a sampler looks at; `blind` ones do not know their latency before."""
        grid = GRID if blind else replace(GRID, foreseen=lambda point: (float(self.costs[self._rows[point], 0]), None))
        sampler, found = create(name, {}, grid, costs=2, seed=seed), list[Point]()
        while len(found) < EVALUATIONS and (point := sampler.ask()) is not None:
            sampler.tell(point, [float(cost) for cost in self.costs[self._rows[point]]])
            found.append(point)
        return found

    def share(self, found: Sequence[Point]) -> float:
        """Return the share of the table's hypervolume that these cells have."""
        return hypervolume(self.costs[[self._rows[point] for point in found]], self._reference) / self._whole


def main() -> None:
    """Search and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--devices", default=",".join(nas_bench_201.latencies()[0]), help="names, with commas")
    parser.add_argument("--samplers", default=",".join(SAMPLERS.names()), help="names, with commas")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--blind", action="store_true", help="no latency is known before a cell is looked at")
    given = parser.parse_args()
    tables = [Cells(device) for device in given.devices.split(",")]
    shares: dict[str, NDArray[np.float64]] = {}
    for name in dict.fromkeys(["random", *given.samplers.split(",")]):
        shares[name] = np.array(
            [[t.share(t.searched(name, seed, blind=given.blind)) for seed in range(given.seeds)] for t in tables]
        )
        ahead = (shares[name] - shares["random"]).mean(axis=1)
        told = interval(100 * ahead) if len(ahead) > 1 else f"{100 * ahead[0]:+.2f}"
        print(
            f"{name}: mean {shares[name].mean():.4f}, least {shares[name].min():.4f}, ahead of random by {told} points",
            flush=True,
        )
    best = max(found.mean() for found in shares.values())
    print(f"best mean share {best:.4f}, goal {GOAL}")
    sys.exit(0 if best >= GOAL else 1)


if __name__ == "__main__":
    main()
