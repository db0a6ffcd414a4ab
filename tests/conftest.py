"""One thread per test process, so that timings and results do not depend on how busy the machine is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("GOMP_SPINCOUNT", "3000")  # threads that spin longer make a busy machine many times slower

import pytest
from filelock import FileLock

from tests.tmpfs import Tmpfs

TESTS = Path(__file__).parent
WORKER = os.environ.get("PYTEST_XDIST_WORKER")
MEASURED = (
    *("connection", "device", "measure", "kernels/test_profiling.py", "cli/test_gate.py", "cli/test_profile.py"),
    *("gate/test_pytest_plugin.py", "quantize/test_trial.py", "train/test_overhead.py"),
)
"""Folders and files whose tests say something of time or memory, and need the machine for themselves; elsewhere single
tests are marked."""
LONG = ("pipeline", "test_wheel.py")
"""Whole compressions, where the figures may be what they like; the first to begin, so that all workers end together."""


@dataclass(frozen=True)
class Run:
    """A finished `edgekd compress`."""

    folder: Path
    answer: subprocess.CompletedProcess[str]


def compress(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run `edgekd compress --smoke` as a user would."""
    command = [sys.executable, "-m", "edgekd.cli.main", "compress", "--smoke", "--run-folder", str(folder), *options]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep out of the user's cache, in which a teacher may lie that another number of threads has trained."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGEKD_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session", autouse=True)
def _own_lock() -> Iterator[None]:
    """Let workers measure side by side what nobody looks at, instead of waiting for each other."""
    if not WORKER:
        yield
        return
    with tempfile.TemporaryDirectory(prefix="edgekd-") as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", folder)
        patch.setattr(tempfile, "tempdir", folder)
        yield


@pytest.fixture(scope="session")
def smoke(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """One smoke run of the whole chain, by whichever worker needs it first; who changes its folder works on a copy."""
    own = tmp_path_factory.getbasetemp()
    place = (own.parent if WORKER else own) / "smoke"
    place.mkdir(exist_ok=True)
    folder, kept = place / "run", place / "answer.json"
    with FileLock(place / "lock"):
        if not kept.is_file():
            answer = compress(folder)
            kept.write_text(json.dumps([answer.args, answer.returncode, answer.stdout, answer.stderr]))
    return Run(folder, subprocess.CompletedProcess(*json.loads(kept.read_text())))


@pytest.fixture
def tmpfs(tmp_path: Path) -> Iterator[Tmpfs]:
    """A small disk that a test may fill or make read-only."""
    found = Tmpfs(tmp_path / "disk")
    yield found
    found.unmount()


_EXPECTED_SKIPS = (
    "a long study",
    "no disk to fill",
    "without integer dot products",
    "engines of tensorrt-rtx run on a GPU",
    "no sshd here",
    "no small disk and no network of one's own here",
)
_unexpected: list[str] = []


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.skipped and isinstance(report.longrepr, tuple):
        reason = str(report.longrepr[2]).removeprefix("Skipped: ")
        if not reason.startswith(_EXPECTED_SKIPS):
            _unexpected.append(f"{report.nodeid}: {reason}")


def pytest_sessionfinish(session: pytest.Session) -> None:
    """In continuous integration a test that is skipped for an unknown reason is a test that is missing."""
    if os.environ.get("CI") and _unexpected and session.exitstatus == 0:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for line in _unexpected:
        terminalreporter.write_line(f"unexpectedly skipped: {line}", red=True)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="also run the long studies")


def _is_in(places: Sequence[str], item: pytest.Item) -> bool:
    return any(item.path.is_relative_to(TESTS / place) for place in places)


@pytest.hookimpl(tryfirst=True)  # before -m looks at the markers
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        if _is_in(MEASURED, item):
            item.add_marker(pytest.mark.measured)
    if WORKER:
        items.sort(key=lambda item: not _is_in(LONG, item))
    if config.getoption("--slow"):
        return
    for item in items:
        if "slow" in item.keywords:
            item.add_marker(pytest.mark.skip(reason="a long study: run with --slow"))
