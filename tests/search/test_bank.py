"""The bank keeps what networks were worth, beside other runs, and reads what is whole."""

from __future__ import annotations

import json
import logging
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from edgekd import cache
from edgekd.errors import UsageError
from edgekd.recipe import ModelSpec
from edgekd.search import bank
from edgekd.search.bank import Row, Task
from edgekd.search.course import Worth


def task(letter: str = "a") -> Task:
    return Task(
        key=letter * 64, name="digits", data="d" * 64, classes=10, input_shape=(1, 28, 28), samples=100, epochs=2
    )


def score(width: int, error: float = 20.0) -> Worth:
    return Worth(spec=ModelSpec(name="resnet", options={"channels": [width] * 3}), error_percent=error, images=200)


def test_a_later_search_reads_what_an_earlier_one_has_left(tmp_path: Path) -> None:
    for width in (8, 16):
        bank.keep(tmp_path, task("a"), score(width, error=width))
    bank.keep(tmp_path, task("b"), score(8))
    rows = bank.earlier(tmp_path, task("c"))
    assert {(row.task.key[0], row.score.spec.options["channels"][0]) for row in rows} == {("a", 8), ("a", 16), ("b", 8)}
    assert {key[0]: len(scores) for key, scores in bank.by_task(rows).items()} == {"a": 2, "b": 1}
    assert [row.score for row in rows if row.task == task("b")] == [score(8)]


def test_a_task_is_told_nothing_of_itself(tmp_path: Path) -> None:
    bank.keep(tmp_path, task("a"), score(8))
    assert bank.earlier(tmp_path, task("a")) == ()
    assert bank.earlier(tmp_path / "none", task("a")) == ()


def test_the_first_row_of_a_network_stays(tmp_path: Path) -> None:
    bank.keep(tmp_path, task(), score(8, error=20))
    bank.keep(tmp_path, task(), score(8, error=30))
    (row,) = bank.earlier(tmp_path, task("b"))
    assert row.score.error_percent == 20


def test_runs_side_by_side_lose_nothing(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: bank.keep(tmp_path, task(), score(8 + number % 40)), range(160)))
    assert len(bank.earlier(tmp_path, task("b"))) == 40
    assert not list(tmp_path.rglob("*.unfinished"))


def test_bad_rows_are_left_out_with_one_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for width in (8, 16, 24):
        bank.keep(tmp_path, task(), score(width))
    first, second, _ = sorted(tmp_path.rglob("*.json"))
    first.write_text('{"task": ')
    second.write_text(json.dumps({**json.loads(second.read_text()), "schema_version": 2}))
    with caplog.at_level(logging.WARNING, "edgekd"):
        assert len(bank.earlier(tmp_path, task("b"))) == 1
    (warning,) = caplog.records
    assert str(first) in warning.getMessage()
    assert "left out one row and 1 more that cannot be read; delete the file" in warning.getMessage()


def test_a_file_is_what_it_was_when_the_first_version_wrote_it(tmp_path: Path) -> None:
    """Rows of this version are read by every later one: change this text only beside a new schema_version."""
    text = """
    {
      "schema_version": 1,
      "task": {
        "key": "KEY", "name": "digits", "data": "DATA", "classes": 10, "input_shape": [1, 28, 28], "samples": 100,
        "epochs": 2, "losses": []
      },
      "score": {
        "spec": {"name": "resnet", "factory": null, "options": {"channels": [8, 8, 8]}, "weights": null},
        "error_percent": 20.0, "images": 200
      }
    }
    """.replace("KEY", "a" * 64).replace("DATA", "d" * 64)
    bank.keep(tmp_path, task(), score(8))
    (path,) = tmp_path.rglob("*.json")
    assert json.loads(path.read_text()) == json.loads(text)
    path.write_text(text)
    assert bank.earlier(tmp_path, task("b")) == (Row(task=task(), score=score(8)),)


def test_a_search_that_goes_on_is_told_what_it_was_told(tmp_path: Path) -> None:
    path, rows = tmp_path / "bank.json", (Row(task=task(), score=score(8)),)
    assert bank.said(path, "x", lambda: rows) == rows
    assert bank.said(path, "x", lambda: ()) == rows, "whatever was learned or lost since"
    assert bank.said(path, "y", lambda: ()) == (), "another search asks anew"
    path.write_text("{")
    with pytest.raises(UsageError, match=r"bank\.json: cannot be read as JSON"):
        bank.said(path, "y", lambda: ())


def test_the_bank_is_listed_and_pruning_leaves_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEKD_CACHE", str(tmp_path))
    bank.keep(tmp_path, task(), score(8))
    (entry,) = cache.entries()
    assert (entry.kind, entry.name, entry.made_here) == ("bank", "a" * 32, False)
    assert 0 < entry.size_bytes < 1000
