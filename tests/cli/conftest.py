"""A user's folder, empty or with a finished run in it."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import yaml

import edgekd
from tests.cli.desk import FACTORIES, RECIPE, Answer, Desk, ended


@pytest.fixture(scope="session")
def desk_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def desk(
    tmp_path: Path, desk_cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Desk]:
    shutil.copy(FACTORIES, tmp_path / "mine.py")
    (tmp_path / "broken.py").write_text("import json\njson.no_such_thing\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EDGEKD_CACHE", str(desk_cache))
    monkeypatch.setattr(sys, "path", [part for part in sys.path if part not in {"", str(tmp_path)}])
    monkeypatch.setattr(sys, "argv", list(sys.argv))
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    threads = torch.get_num_threads()
    made = Desk(tmp_path, capsys)
    made.recipe()
    yield made
    for number, handler in handlers.items():  # the command ignores both once all is said
        signal.signal(number, handler)
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, desk_cache: Path) -> Path:
    """The folder of a run that has ended, made by the command itself in the user's folder."""
    folder = tmp_path_factory.mktemp("finished")
    shutil.copy(FACTORIES, folder / "mine.py")
    (folder / "mine.yaml").write_text(yaml.safe_dump(RECIPE, sort_keys=False))
    # -P keeps Python itself from adding the working directory: finding the factories there is the command's doing.
    command = [
        sys.executable,
        "-P",
        "-m",
        "edgekd.cli.main",
        "compress",
        "--recipe",
        "mine.yaml",
        "--run-folder",
        "run",
    ]
    root = str(Path(edgekd.__file__).parents[1])
    environment = {"PATH": "", "OMP_NUM_THREADS": "1", "EDGEKD_CACHE": str(desk_cache), "PYTHONPATH": root}
    answer = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder, env=environment)
    ended(Answer(answer.returncode, answer.stdout, answer.stderr))
    return folder / "run"


@pytest.fixture
def held(desk: Desk, finished: Path) -> Desk:
    """A user's folder with a finished run in it, which a mistake must not touch."""
    shutil.copytree(finished, desk.folder / "run")
    return desk
