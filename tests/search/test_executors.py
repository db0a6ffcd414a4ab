"""The contract of executors, over every executor found; that of Ray on a cluster of two simulated nodes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgekd.disk import scratch
from edgekd.errors import EdgekdError, ResourceError, UsageError
from edgekd.search.executor import EXECUTORS, TRIES, Executor, Job, create
from tests.search import jobs

WORKERS = 2


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """The address of a Ray cluster of two nodes with a core each."""
    from ray.cluster_utils import Cluster

    node = {"num_cpus": 1, "object_store_memory": 80 * 2**20}
    with scratch("ray", Path("/tmp")) as place, pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_TMPDIR", str(place))
        found = Cluster(True, head_node_args={**node, "include_dashboard": False})
        try:
            found.add_node(**node)
            yield found.address
        finally:
            found.shutdown()


@pytest.fixture
def name(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """A name, and where it is Ray's the cluster that it finds."""
    if request.param == "ray":
        monkeypatch.setenv("RAY_ADDRESS", request.getfixturevalue("cluster"))
    return str(request.param)


over_all = pytest.mark.parametrize("name", EXECUTORS.names(), indirect=True)


def results(executor: Executor, *asked: Job[Any]) -> dict[str, Any]:
    with executor as workers:
        return {job.title: result for job, result in workers.results(asked)}


@over_all
def test_each_result_comes_once_and_a_job_is_asked_for_when_a_worker_is_free(name: str) -> None:
    asked, got = [], []

    def squares() -> Iterator[Job[int]]:
        for number in range(7):
            asked.append(number)
            assert len(asked) - len(got) <= WORKERS
            yield Job(str(number), jobs.squared, (number,))

    with create(name, {}, WORKERS) as workers:
        for job, result in workers.results(squares()):
            got.append(result)
            assert result == int(job.title) ** 2
            assert len(asked) - len(got) < WORKERS
    assert sorted(got) == [number**2 for number in range(7)]


@over_all
def test_jobs_are_done_side_by_side_and_none_waits_for_a_slow_one(name: str, tmp_path: Path) -> None:
    pair = [Job("a", jobs.met, (tmp_path, "a", "b")), Job("b", jobs.met, (tmp_path, "b", "a"))]
    slow = [Job("slow", jobs.waits, (tmp_path / "go",)), *(Job(f"{n}", jobs.squared, (n,)) for n in range(3))]
    with create(name, {}, WORKERS) as workers:
        assert len({os.getpid(), *(found for _, found in workers.results(pair))}) == 3
        order = []
        for job, _ in workers.results(slow):
            order.append(job.title)
            if len(order) == 3:
                (tmp_path / "go").touch()
    assert order == ["0", "1", "2", "slow"]


@over_all
def test_an_error_is_raised_as_it_was(name: str) -> None:
    with pytest.raises(UsageError, match="there is no cake") as told:
        results(create(name, {}, WORKERS), Job("a", jobs.refuses, ("cake",)))
    assert told.value.word == "cake"
    with pytest.raises(EdgekdError, match="RuntimeError: the lock is taken"):
        results(create(name, {}, WORKERS), Job("a", jobs.fails_unreadably))
    with pytest.raises(TypeError, match="cannot pickle") as unsent:
        results(create(name, {}, WORKERS), Job("a", jobs.returns_what_cannot_be_sent))
    assert "in a worker:" in unsent.value.__notes__[0]


@over_all
def test_the_job_of_a_killed_worker_is_done_again(name: str, tmp_path: Path) -> None:
    beside = [Job(str(number), jobs.squared, (number,)) for number in range(3)]
    found = results(create(name, {}, WORKERS), Job("dies", jobs.dies, (tmp_path, 1)), *beside)
    assert found == {"dies": 2, "0": 0, "1": 1, "2": 4}


@over_all
def test_a_job_that_kills_every_worker_is_given_up(name: str, tmp_path: Path) -> None:
    with pytest.raises(ResourceError, match=f"'dies' was tried {TRIES} times and its worker died each time"):
        results(create(name, {}, WORKERS), Job("dies", jobs.dies, (tmp_path, 99)))
    assert len(list(tmp_path.iterdir())) == TRIES


@over_all
def test_a_worker_is_single_threaded_unless_told_otherwise(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert results(create(name, {}, WORKERS), Job("threads", jobs.threads)) == {"threads": 1}


@over_all
def test_no_worker_outlives_a_driver_that_is_killed(name: str, tmp_path: Path) -> None:
    driver = driving(name, tmp_path)
    try:
        for one in "ab":
            jobs.wait_for(tmp_path / one)
        workers = [int((tmp_path / one).read_text()) for one in "ab"]
        assert all(alive(worker) for worker in workers)
    finally:
        driver.kill()
        driver.wait()
    assert ended(workers)


def test_a_worker_may_have_more_threads_where_there_are_cores(cluster: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    told = Job("threads", jobs.told_threads)
    assert results(create("processes", {"threads": 2}, WORKERS), told) == {"threads": "2"}
    monkeypatch.setenv("RAY_ADDRESS", cluster)
    with pytest.raises(UsageError, match=r"a worker of 2 threads was asked for, and the largest node .* has 1 cores"):
        results(create("ray", {"threads": 2}, WORKERS), told)


def test_a_single_worker_of_processes_is_this_process(tmp_path: Path) -> None:
    (tmp_path / "b").touch()
    mine = Job("a", jobs.met, (tmp_path, "a", "b"))
    executor = create("processes", {}, 1)
    assert executor.here
    assert results(executor, mine) == {"a": os.getpid()}
    with pytest.raises(UsageError, match="there is no cake"):
        results(executor, Job("a", jobs.refuses, ("cake",)))


def test_ray_starts_a_cluster_where_none_is_named_and_it_ends_with_its_driver(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = tmp_path / ("a-folder-for-temporary-files" * 4)
    long.mkdir()
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("TMPDIR", str(long))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    driver = driving("ray", tmp_path)
    try:
        for one in "ab":
            jobs.wait_for(tmp_path / one)
        started = children(driver.pid)
        assert len(started) >= 2  # the cluster's own processes
    finally:
        driver.kill()
        driver.wait()
    assert ended([*started, *(int((tmp_path / one).read_text()) for one in "ab")])
    assert not (tmp_path / "home").exists()


def test_a_cluster_that_is_not_there_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    with pytest.raises(UsageError, match=r"RAY_ADDRESS=127\.0\.0\.1:1: no Ray cluster answers there"):
        results(create("ray", {}, 1), Job("a", jobs.squared, (1,)))


def test_a_node_without_the_same_files_or_packages_is_told(
    cluster: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", cluster)
    job = Job("a", jobs.squared, (1,))
    with monkeypatch.context() as patch:
        patch.setattr(Path, "cwd", lambda: tmp_path / "elsewhere")
        with pytest.raises(UsageError, match="must share one file system"):
            results(create("ray", {}, 1), job)
    monkeypatch.setattr("edgekd.search.executors.ray._attempt_in", jobs.lacks_a_package)
    with pytest.raises(UsageError, match=r"could not begin with 'a': No module named 'edgekd'; .* need the packages"):
        results(create("ray", {}, 1), job)


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    kind = EXECUTORS.get("ray")
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(UsageError, match=r"needs the package 'ray', .*pip install 'edgekd\[ray\]'"):
        kind(Executor.Config(), 1)


def test_an_answer_to_sigterm_is_kept(cluster: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", cluster)
    before = signal.getsignal(signal.SIGTERM)
    with create("ray", {}, 1):
        assert signal.getsignal(signal.SIGTERM) is before


def test_an_unknown_executor_is_told_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="unknown name 'proceses' in executors; did you mean 'processes'"):
        create("proceses", {}, 1)


def driving(name: str, folder: Path) -> subprocess.Popen[bytes]:
    code = f"from pathlib import Path; from tests.search import jobs; jobs.drive({name!r}, Path({str(folder)!r}))"
    return subprocess.Popen([sys.executable, "-c", code])


def alive(process: int) -> bool:
    """Return whether a process runs; one that has ended and was not waited for does not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def ended(processes: list[int]) -> bool:
    deadline = time.monotonic() + jobs.PATIENCE_S
    while any(map(alive, processes)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not any(map(alive, processes))


def children(process: int) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = path.read_text().rpartition(")")[2].split()[1]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(parent) == process:
            found.append(int(path.parent.name))
    return found
