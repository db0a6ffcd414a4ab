"""How often to look, and how to share the risk between looks: what decides most gates within one minute.

    python -m tools.study_looks [--gates 20000]

Gates with normal ratios, 66 processes at most; a row for each growth of the looks and each way of sharing the 1 %.
edgekd's own is `1 - 4.5/n` at a growth of 2 (`statistics.bound_rank`, `sequence.GROWTH`).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

import numpy as np
from scipy import stats

RISK, FIRST, MOST = 0.01, 11, 66
SPREAD = 4.3
"""Percent: of a ratio of two engines whose processes spread by 3 % each, and a little noise within each."""
DISTANCES = (1.0, 2.0, 3.0, 5.0)

Share = Callable[[int, int, float], float]
"""Returns which share of the risk may be spent by look number i at n processes, when a share was spent before."""
SHARES: dict[str, Share] = {
    "all that is left": lambda *_: 1.0,
    "half of what is left": lambda _number, _count, spent: spent + (1 - spent) / 2,
    "1/(k (k + 1))": lambda number, *_: 1 - 1 / (number + 1),
    "1 - 4.5/n": lambda _number, count, _spent: 1 - 4.5 / count,
    "n/66 (knows the end)": lambda _number, count, _spent: count / MOST,
}


def looks(growth: float) -> list[int]:
    """Return 11 and so on, up to 66."""
    found = [FIRST]
    while (following := int(growth * found[-1])) <= MOST:
        found.append(following)
    return [*found, MOST] if found[-1] < MOST / 1.15 else found


def ranks(at: list[int], share: Share) -> list[int]:
    """Return which largest value is the upper bound at each look; 0 for none (a union bound over the looks)."""
    found, spent = [], 0.0
    for number, count in enumerate(at, 1):
        risks = stats.binom.cdf(np.arange(count // 2), count, 0.5)
        allowed = RISK * share(number, count, spent / RISK) - spent
        found.append(int(np.searchsorted(risks, allowed * (1 + 1e-12), side="right")))
        spent += float(risks[found[-1] - 1]) if found[-1] else 0.0
    return found


def decided(values: np.ndarray, at: list[int], chosen: list[int], limit: float) -> tuple[float, float]:
    """Return the share of gates, (gates, 66), whose bound comes within the limit, and the mean number of processes."""
    used = np.full(len(values), MOST)
    met = np.zeros(len(values), bool)
    for count, rank in zip(at, chosen, strict=True):
        now = np.sort(values[:, :count], axis=1)[:, -rank] <= limit if rank else np.zeros(len(values), bool)
        used[now & ~met] = count
        met |= now
    return float(met.mean()), float(used.mean())


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--gates", type=int, default=20_000)
    values = SPREAD * np.random.default_rng(1).standard_normal((parser.parse_args().gates, MOST))
    columns = [f"decided at {distance:g} %" for distance in DISTANCES]
    print("| " + " | ".join(["looks", "may be spent", "ranks", "wrong, %", *columns, "processes at 5 %"]) + " |")
    print("| --- | --- | --- |" + " ---: |" * (len(columns) + 2))
    for growth in (1.3, 1.5, 2.0):
        at = looks(growth)
        for name, share in SHARES.items():
            chosen = ranks(at, share)
            found = [decided(values, at, chosen, distance) for distance in (0.0, *DISTANCES)]
            rates = [f"{100 * found[0][0]:.2f}", *(f"{100 * rate:.0f}" for rate, _ in found[1:])]
            told = [", ".join(map(str, at)), name, ", ".join(map(str, chosen)), *rates, f"{found[-1][1]:.0f}"]
            print("| " + " | ".join(told) + " |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
