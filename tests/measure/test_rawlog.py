from __future__ import annotations

import json
from pathlib import Path

from edgekd.measure.rawlog import RawLog

_HEADER = {"engines": [["a", "1"], ["b", "2"]], "boot": "x"}


def _processes(number: int) -> list[dict]:
    return [{"engine": key, "load_ms": float(number), "blocks": []} for key in "ab"]


def _written(path: Path, rounds: int) -> RawLog:
    log = RawLog(path, _HEADER)
    log.plan(11)
    for number in range(rounds):
        log.add_round(_processes(number), {"load": [0.0]})
    return log


def test_complete_rounds_are_replayed(tmp_path: Path) -> None:
    _written(tmp_path / "raw.jsonl", 2)
    again = RawLog(tmp_path / "raw.jsonl", _HEADER)
    assert [found["b"]["load_ms"] for found in again.rounds] == [0.0, 1.0]
    assert again.looks == [11]
    assert len(again.states) == 2


def test_a_round_torn_by_a_kill_is_measured_again(tmp_path: Path) -> None:
    path = tmp_path / "raw.jsonl"
    _written(path, 2)
    for cut in (10, 120, 200):
        torn = tmp_path / f"torn{cut}.jsonl"
        torn.write_bytes(path.read_bytes()[:-cut])
        log = RawLog(torn, _HEADER)
        assert len(log.rounds) == 1
        log.add_round(_processes(7), {})
        again = RawLog(torn, _HEADER)
        assert [found["a"]["load_ms"] for found in again.rounds] == [0.0, 7.0]


def test_another_engine_or_another_boot_begins_anew(tmp_path: Path) -> None:
    for change in ({"boot": "y"}, {"engines": [["a", "9"], ["b", "2"]]}):
        _written(tmp_path / "raw.jsonl", 2)
        assert RawLog(tmp_path / "raw.jsonl", {**_HEADER, **change}).rounds == []


def test_every_line_is_json(tmp_path: Path) -> None:
    _written(tmp_path / "raw.jsonl", 1)
    kinds = [json.loads(line)["kind"] for line in (tmp_path / "raw.jsonl").read_text().splitlines()]
    assert kinds == ["series", "look", "process", "process", "machine"]
