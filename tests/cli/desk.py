"""A user at work: his folder with factories and a recipe, and the command he gives there."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from edgekd.cli.main import main
from edgekd.report import RunReport
from edgekd.schema import read_json
from edgekd.train import data
from tests.cli import user_factories

FACTORIES = Path(user_factories.__file__)
RECIPE: dict[str, Any] = {
    "title": "quadrants",
    "model": {"factory": "mine:network"},
    "data": {"factory": "mine:data"},
    "target": "host",
    "budget": {"latency_ms": 1000},
    "stages": {
        "teacher": {"epochs": 4, "batch": 16, "learning_rate": 0.05},
        "measure": {"processes": 1, "memory_processes": 1},
    },
    "feedback_rounds": 1,
    "threads": 1,
}


@dataclass(frozen=True)
class Answer:
    """How a command ended."""

    code: int
    out: str
    err: str


@dataclass(frozen=True)
class Desk:
    """A user's folder, with his factories and his recipe in it."""

    folder: Path
    capture: pytest.CaptureFixture[str]

    def recipe(self, **changes: Any) -> Path:
        path = self.folder / "mine.yaml"
        path.write_text(yaml.safe_dump({**RECIPE, **changes}, sort_keys=False))
        return path

    def compress(self, *options: str) -> Answer:
        return self.give("compress", "--recipe", "mine.yaml", "--run-folder", "run", "--quiet", *options)

    def give(self, *words: str) -> Answer:
        """Give a command in this process, where what is heavy was imported before."""
        sys.argv = ["edgekd", *words]
        for name in ("mine", "broken"):
            sys.modules.pop(name, None)
        data._load.cache_clear()
        self.capture.readouterr()
        with pytest.raises(SystemExit) as leaving:
            main()
        told = self.capture.readouterr()
        assert isinstance(leaving.value.code, int)
        return Answer(leaving.value.code, told.out, told.err)

    def state(self) -> dict[str, bytes]:
        run = self.folder / "run"
        files = (path for path in run.rglob("*") if path.is_file() and path.name != ".lock")
        return {path.relative_to(run).as_posix(): path.read_bytes() for path in files}

    def reused(self) -> dict[str, bool]:
        """Return whether a stage was reused, by name, once the mended run has ended."""
        report = read_json(RunReport, self.folder / "run" / "run.json")
        return {line.name: line.reused for line in report.stages}


def refused(answer: Answer, code: int, sentence: str) -> None:
    assert answer.code == code, answer.err
    assert "Traceback" not in answer.err
    assert answer.out == ""
    told = [line for line in answer.err.splitlines() if line.startswith("edgekd: ")]
    assert len(told) == 1, answer.err
    assert re.search(sentence, told[0]), told[0]


def ended(answer: Answer) -> None:
    """Check that a run came to its verdict; one process gives no bounds, so that verdict may be 5."""
    assert answer.code in {0, 5}, answer.err
    assert answer.out.count("\n") == 1


def stages(**changes: dict[str, Any]) -> dict[str, Any]:
    return {"stages": {**RECIPE["stages"], **changes}}


def model(factory: str, **more: Any) -> dict[str, Any]:
    return {"model": {"factory": factory, **more}}


def images(factory: str, **more: Any) -> dict[str, Any]:
    return {"data": {"factory": factory, **more}}
