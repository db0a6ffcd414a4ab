"""One thread per test process, so that timings and results do not depend on how busy the machine is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("GOMP_SPINCOUNT", "3000")  # threads that spin longer make a busy machine many times slower

import pytest
from filelock import FileLock

from tests.tmpfs import Tmpfs

TESTS = Path(__file__).parent
WORKER = os.environ.get("PYTEST_XDIST_WORKER")
WORKERS = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
MEASURED = (
    *("device", "measure", "kernels/test_profiling.py", "cli/test_gate.py", "cli/test_profile.py"),
    *("gate/test_pytest_plugin.py", "quantize/test_trial.py", "train/test_overhead.py"),
)
"""Folders and files whose tests say something of time or memory, and need the machine for themselves; elsewhere single
tests are marked."""
LONG = (
    *("pipeline", "test_wheel.py", "test_contributing.py", "train/test_parallel.py"),
    *("predict/test_latency.py", "predict/test_widths.py", "kernels/test_refining.py", "cli/test_predict.py"),
)
"""Whole compressions, where the figures may be what they like, and what shares a profile that takes half a minute to
learn; the first to begin, so that all workers end together."""


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
    "this processor has integer dot products",
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


def pytest_configure() -> None:
    """Give each worker cores of its own.

    A run trains with as many threads as it may use cores, and two that train with all of them wait for each other most
    of the time; what one measures is not disturbed by what another computes.
    """
    if WORKER and hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, cores[int(WORKER.removeprefix("gw")) % min(WORKERS, len(cores)) :: WORKERS])


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="also run the long studies")


def _is_in(places: Sequence[str], path: Path) -> bool:
    return any(path.is_relative_to(TESTS / place) for place in places)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out whole files that -m would leave out test by test: importing them takes half a minute."""
    if collection_path.suffix != ".py" or config.option.markexpr not in {"measured", "not measured"}:
        return None
    measured = _is_in(MEASURED, collection_path)
    if config.option.markexpr == "not measured":
        return measured or None
    return not (measured or "mark.measured" in collection_path.read_text()) or None


def _dealt(items: Sequence[pytest.Item], workers: int) -> list[pytest.Item]:
    """Order tests so that every worker begins with long ones, and only the first waits for the smoke run.

    Each worker gets an equal part of the list, as it stands; who is done with his takes from the ends of the others'.
    """
    smoke: list[pytest.Item] = []
    long: dict[Path, list[pytest.Item]] = {}
    short: list[pytest.Item] = []
    for item in items:
        if "smoke" in getattr(item, "fixturenames", ()):
            smoke.append(item)
        else:
            (long.setdefault(item.path, []) if _is_in(LONG, item.path) else short).append(item)
    files, others = list(long.values()), max(workers - 1, 1)
    found: list[pytest.Item] = []
    left = iter(short)
    for number, begin in enumerate([smoke, *(list(chain(*files[part::others])) for part in range(others))]):
        end = len(items) * (number + 1) // (others + 1)
        found += [*begin, *islice(left, max(end - len(found) - len(begin), 0))]
    return [*found, *left]


@pytest.hookimpl(wrapper=True, tryfirst=True)  # before -m looks at the markers, and after it has sorted out
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> Generator[None, object, object]:
    for item in items:
        if _is_in(MEASURED, item.path):
            item.add_marker(pytest.mark.measured)
        if "slow" in item.keywords and not config.getoption("--slow"):
            item.add_marker(pytest.mark.skip(reason="a long study: run with --slow"))
    answered = yield
    if WORKER:
        items[:] = _dealt(items, WORKERS)
    return answered
