from __future__ import annotations

import pytest

from edgekd.device.settle import settle


class _Engine:
    """Runs whose processor time, in nanoseconds, falls to a floor."""

    def __init__(self, costs: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
        self.costs, self.now, self.runs = costs, 0, 0
        monkeypatch.setattr("edgekd.device.settle.time.process_time_ns", lambda: self.now)

    def run(self) -> int:
        cost = self.costs[min(self.runs, len(self.costs) - 1)]
        self.now += cost
        self.runs += 1
        return 2 * cost  # on the clock it takes longer: others run as well


def test_warm_up_ends_when_there_is_no_trend(monkeypatch: pytest.MonkeyPatch) -> None:
    falling = _Engine([int(2_000_000 * (1 + 5 * 0.97**run)) for run in range(200)], monkeypatch)
    assert settle(falling.run, 0, 60)["settled"]
    assert falling.runs > 100  # at run 100 the cost is still a quarter above the floor
    quick = settle(_Engine([2_000_000], monkeypatch).run, 0, 60)
    assert quick["windows"] == 3
    assert quick["run_ms"] == 4


def test_warm_up_that_never_settles_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    restless = _Engine([2_000_000 if run // 10 % 2 else 1_000_000 for run in range(1_000_000)], monkeypatch)
    assert not settle(restless.run, 0, 0.05)["settled"]
