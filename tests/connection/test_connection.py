from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgekd.connection.child import Child
from edgekd.connection.connection import Connection, local, pack
from edgekd.errors import MeasurementError, TargetError

_GREETING = 'print(\'{"ok": true, "protocol": 1}\', flush=True); '


def _child(script: str) -> Child:
    return Child((sys.executable, "-c", "import sys, os, time; " + script), "net/fp32/engine")


def test_the_same_process_answers_many_requests() -> None:
    with local() as connection, connection.start("probe") as child:
        first, second = (child.ask({"verb": "probe"}, 30) for _ in range(2))
    assert first["boot"] == second["boot"]


def test_every_start_is_a_fresh_process() -> None:
    with local() as connection, connection.start("a") as one, connection.start("b") as other:
        assert one._process.pid != other._process.pid


def test_a_crash_is_told_with_the_last_words() -> None:
    script = _GREETING + "sys.stdin.readline(); print('out of luck', file=sys.stderr, flush=True); os.abort()"
    with _child(script) as child, pytest.raises(MeasurementError, match=r"net/fp32/engine ended .*-6.*out of luck"):
        child.ask({"verb": "time"}, 30)


def test_a_crash_before_the_greeting_is_told() -> None:
    with _child("raise SystemExit('no numpy here')") as child, pytest.raises(MeasurementError, match="no numpy here"):
        child.greet()


def test_a_hang_ends_after_its_time_and_the_process_is_gone() -> None:
    begin = time.monotonic()
    with (
        _child(_GREETING + "print('thinking', file=sys.stderr, flush=True); time.sleep(600)") as child,
        pytest.raises(MeasurementError, match=r"no answer for 0.5 s.*thinking"),
    ):
        child.ask({"verb": "time"}, 0.5)
    assert child._process.poll() is not None
    assert time.monotonic() - begin < 60


def test_a_child_that_answers_too_late_for_the_end_is_killed() -> None:
    child = _child(_GREETING + "time.sleep(600)")
    child.greet()
    child.close()
    assert child._process.poll() is not None


def test_what_is_no_protocol_is_refused() -> None:
    with (
        _child("print('Welcome to my board!', flush=True); sys.stdin.read()") as child,
        pytest.raises(MeasurementError, match="Welcome"),
    ):
        child.greet(10)
    with _child("print('{\"protocol\": 99}', flush=True)") as child, pytest.raises(TargetError, match="99"):
        child.greet(10)


def test_a_missing_runtime_is_the_targets_fault() -> None:
    with local() as connection, connection.start("x") as child, pytest.raises(TargetError, match="no_such_runtime"):
        child.ask({"verb": "memory", "runtime": "no_such_runtime"}, 30)


def test_what_a_runtime_prints_does_not_disturb_the_answers() -> None:
    with local() as connection, connection.start("x") as child:
        answer = child.ask({"verb": "memory", "runtime": "this", "engine": None}, 30)  # `import this` prints a poem
    assert answer["peak_mb"] > 1


class _Thinkers(Connection):
    """Starts processes that answer after ten minutes."""

    def start(self, label: str) -> Child:
        self._command = (sys.executable, "-c", "import sys, time; " + _GREETING + "time.sleep(600)")
        return super().start(label)


def _think(connection: Connection, label: str) -> object:
    with connection.start(label) as child:
        child.greet()
        if label == "broken":
            raise ValueError(label)
        return child.ask({"verb": "time"}, 600)


def test_items_are_worked_on_at_once_and_answered_in_order() -> None:
    with local() as connection:
        assert connection.at_once(lambda x: x + 1, [1, 2, 3], 2) == [2, 3, 4]


def test_where_one_fails_nobody_waits_for_the_others() -> None:
    connection = _Thinkers(())
    begin = time.monotonic()
    with pytest.raises(ValueError, match="broken"):
        connection.at_once(lambda label: _think(connection, label), ["broken", "slow", "never started"], 2)
    assert time.monotonic() - begin < 120, "the others think for ten minutes"


@pytest.fixture
def _interruptible() -> Iterator[None]:
    """A shell lets its background jobs ignore interrupts, and what they start with them."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("_interruptible")
def test_an_interrupt_does_not_wait_for_what_goes_on() -> None:
    connection = _Thinkers(())
    begin = time.monotonic()
    timer = threading.Timer(2, os.kill, [os.getpid(), signal.SIGINT])
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        connection.at_once(lambda label: _think(connection, label), ["slow", "slow too", "never started"], 2)
    timer.join()
    assert time.monotonic() - begin < 120


def test_a_process_dies_with_the_one_that_started_it(tmp_path: Path) -> None:
    """Even in the middle of a request: a parent that was killed cannot close its pipes politely."""
    code = (
        "import os, subprocess, sys\n"
        "child = subprocess.Popen([sys.executable, sys.argv[1]], stdin=subprocess.PIPE, stdout=subprocess.PIPE)\n"
        "child.stdout.readline()\n"  # the greeting
        "print(child.pid, os.dup(child.stdin.fileno()), flush=True)\n"
        "sys.stdin.readline()\n"
    )
    command = [sys.executable, "-c", code, str(pack(tmp_path / "device.pyz"))]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = Path("/proc") / parent.stdout.readline().split()[0]
        assert child.exists()
        parent.kill()
    for _ in range(100):
        if not child.exists() or "\nState:\tZ" in (child / "status").read_text():
            break
        time.sleep(0.1)
    else:
        pytest.fail("the child lives on")
