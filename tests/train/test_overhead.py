"""The loop costs almost nothing over the one somebody would write by hand; `tools/bench_training.py` is the study."""

from __future__ import annotations

from pathlib import Path
from statistics import median

import torch

from tools.bench_training import Bench, by_hand, by_labels, by_loop

ATTEMPTS = 4
"""A busy machine may spoil one; the loop can only be slower than it is."""


def test_a_step_costs_at_most_a_tenth_more_than_by_hand(tmp_path: Path) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        bench = Bench(tmp_path, samples=512)
        by_hand(bench)
        found = []
        for _ in range(ATTEMPTS):
            ratios = [by_loop(bench, bench.plain_batches(), by_labels) / by_hand(bench) for _ in range(3)]
            found.append(median(ratios))
            if found[-1] <= 1.10:
                break
    finally:
        torch.set_num_threads(threads)
    assert min(found) <= 1.10, found
