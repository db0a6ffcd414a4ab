"""A device at the other end of a real sshd: what it answers, what is left on it, and every way it can be missing."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from edgekd.budget import OperatingPoint
from edgekd.cli.commands import doctor
from edgekd.connection import device, ssh
from edgekd.connection.child import Child
from edgekd.connection.connection import local
from edgekd.connection.device import Device
from edgekd.connection.line import Line
from edgekd.connection.lock import measurement_lock
from edgekd.connection.ssh import remote
from edgekd.errors import TargetError, UsageError
from edgekd.measure import machine
from edgekd.measure.evaluate import outputs
from tests.bundles import conv_file
from tests.connection import sshd
from tests.connection.sshd import Sshd
from tests.measure import tiny_engines

pytestmark = pytest.mark.skipif(sshd.PROGRAM is None, reason="no sshd here: install the package openssh-server")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    with sshd.serving(tmp_path_factory.mktemp("sshd")) as found:
        yield found


@pytest.fixture
def board(server: Sshd) -> Device:
    return Device(address="board", python=sys.executable, ssh_config=str(server.config))


def refused(found: Device, pattern: str) -> None:
    with pytest.raises(TargetError, match=pattern) as caught, remote(found):
        pass
    assert "\n" not in str(caught.value)


def script(path: Path, *lines: str) -> str:
    path.write_text("\n".join(["#!/bin/sh", *lines, ""]))
    path.chmod(0o755)
    return str(path)


def test_it_answers_as_the_same_machine_does_locally(board: Device) -> None:
    with remote(board) as connection, connection.start("board") as child:
        found = child.ask({"verb": "probe"}, 30)
    here = machine.probe()
    assert (found["boot"], found["isa"], found["versions"]) == (here["boot"], here["isa"], here["versions"])


def test_an_engine_is_sent_once_looked_at_there_and_gone_afterwards(
    board: Device, server: Sshd, tmp_path: Path
) -> None:
    engine = conv_file(tmp_path / "network.onnx")
    answers = []
    for place in (remote(board), local()):
        with place as connection, connection.start("network") as child:
            sent = connection.sent(engine)
            assert connection.sent(engine) == sent
            answers.append(child.ask({"verb": "describe", "runtime": "onnxruntime", "engine": sent}, 60))
    assert answers[0] == answers[1]
    assert list((server.cache / "edgekd" / "sessions").iterdir()) == []
    (agent,) = (server.cache / "edgekd" / "agent").iterdir()
    assert agent.suffix == ".pyz"


def test_a_folder_is_sent_whole(board: Device, tmp_path: Path) -> None:
    folder = tmp_path / "engine"
    (folder / "inner").mkdir(parents=True)
    (folder / "model.xml").write_text("xml")
    (folder / "inner" / "model.bin").write_bytes(b"bin")
    with remote(board) as connection:
        there = Path(connection.sent(folder))
        assert there != folder
        assert (there / "model.xml").read_text() == "xml"
        assert (there / "inner" / "model.bin").read_bytes() == b"bin"


def test_what_is_not_needed_any_more_makes_room_for_the_next(board: Device, tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("first.npy", "second.npy")]
    for file in files:
        file.write_text(file.name)
    with remote(board) as connection:
        first = Path(connection.sent(files[0]))
        connection.dropped(files[0])
        second = Path(connection.sent(files[1]))
        assert not first.exists()
        assert second.read_text() == "second.npy"
        assert Path(connection.sent(files[0])).read_text() == "first.npy"


def test_a_host_key_nobody_has_looked_at_and_one_that_changed_are_told_apart(board: Device, server: Sshd) -> None:
    known = server.known_hosts.read_text()
    other = (server.folder / "user.pub").read_text().split()
    try:
        server.known_hosts.write_text("")
        refused(board, "its host key is not known; look at it and accept it once with: ssh board")
        server.known_hosts.write_text(f"[127.0.0.1]:{server.port} {other[0]} {other[1]}\n")
        refused(board, "its host key has changed; find out why before you trust it again")
    finally:
        server.known_hosts.write_text(known)


def test_a_wrong_user_is_refused(board: Device) -> None:
    refused(board.replace(address="nobody-here@board"), "it lets nobody in by that user and key; try: ssh nobody-here")


def test_a_host_without_a_server_and_one_without_a_name_are_refused() -> None:
    refused(Device(address="127.0.0.1:9"), "nothing answers there; is sshd running, and is the port right")
    refused(Device(address="no-such-host.invalid"), "there is no host of that name")


def test_a_device_without_python_is_refused(board: Device) -> None:
    refused(board.replace(python="/nowhere/python3"), "has no '/nowhere/python3'; name its interpreter")
    refused(board.replace(python="true"), "answered no JSON but ''; is 'true' a Python")


def test_an_old_python_is_refused(board: Device, tmp_path: Path) -> None:
    facts = json.dumps({"python": [3, 6], "machine": "x86_64", "cache": "/tmp", "free": 1})
    old = script(tmp_path / "python3.6", f"echo '{facts}'")
    refused(board.replace(python=old), "has Python 3.6; edgekd needs 3.8 there")


def test_a_shell_that_talks_is_refused(board: Device, tmp_path: Path) -> None:
    loud = script(tmp_path / "loud", 'echo "Welcome to the board"', f'exec {sys.executable} "$@"')
    refused(board.replace(python=loud), "prints 'Welcome to the board' before anything else")


def test_a_full_disk_is_told_before_anything_is_sent(tmp_path: Path) -> None:
    replaced = 's/"free": [0-9]*/"free": 1000/'
    full = script(tmp_path / "full", f"{sys.executable} \"$@\" | sed '{replaced}'")
    (tmp_path / "other").mkdir()
    with sshd.serving(tmp_path / "other") as other:
        found = Device(address="board", python=full, ssh_config=str(other.config))
        refused(found, r"has 0 MB free where its user's cache is; \S+ MB are needed")


def test_a_line_that_is_cut_is_told_as_such(board: Device, server: Sshd) -> None:
    with remote(board) as connection, connection.start("board") as child:
        child.greet()
        (held,) = server.connections()
        threading.Timer(0.5, os.kill, (held, signal.SIGKILL)).start()
        begin = time.monotonic()
        with pytest.raises(TargetError, match=r"the device board was lost: .*; the run is resumable"):
            _ask_on_and_on(child)
        assert time.monotonic() - begin < 20


def _ask_on_and_on(child: Child) -> None:
    while True:
        child.ask({"verb": "probe"}, 30)


def test_an_agent_that_is_killed_is_told(board: Device) -> None:
    with remote(board) as connection, connection.start("board") as child:
        pid = child.ask({"verb": "probe"}, 30)["state"]["pid"]
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(TargetError, match="the process there was killed, for lack of memory perhaps"):
            child.ask({"verb": "probe"}, 30)


def answered(kind: str, error: str) -> str:
    return f"print({json.dumps({'ok': False, 'kind': kind, 'error': error})!r}, flush=True)"


def agent(path: Path, after_greeting: str) -> str:
    """Return a Python that says hello and greets as it should, and then does something else."""
    greeting = 'print(\'{"ok": true, "protocol": 1}\', flush=True)'
    code = ["import sys, time", greeting, "sys.stdin.readline()", after_greeting]
    (path / "agent.py").write_text("\n".join(code) + "\n")
    own = f'case "$1" in *.pyz) exec {sys.executable} {path / "agent.py"};; esac'
    return script(path / "python", own, f'exec {sys.executable} "$@"')


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("print('Segmentation fault', flush=True)", "wrote no JSON but b'Segmentation fault"),
        ("time.sleep(60)", "gave no answer for 1 s"),
        ("sys.exit('no more')", "ended with exit status 1; its last words: no more"),
        (answered("MemoryError", "40 MB"), "has too little memory for board: 40 MB"),
        (answered("OSError", "[Errno 28] No space left on device"), "its disk is full; make room"),
        (answered("ImportError", "libnvinfer.so.10"), "cannot run board: libnvinfer"),
    ],
)
def test_whatever_an_agent_does_is_the_devices_fault(board: Device, tmp_path: Path, what: str, said: str) -> None:
    with remote(board.replace(python=agent(tmp_path, what))) as connection, connection.start("board") as child:
        child.greet()
        with pytest.raises(TargetError, match=re.escape(said)) as caught:
            child.ask({"verb": "probe"}, 1 if "sleep" in what else 30)
    assert str(caught.value).startswith("the device board ")


def test_a_missing_runtime_is_the_devices_fault(board: Device) -> None:
    with remote(board) as connection, connection.start("x") as child:
        with pytest.raises(TargetError, match="the device board cannot run x: No module named 'no_such_runtime'"):
            child.ask({"verb": "memory", "runtime": "no_such_runtime"}, 30)
        assert connection.has("onnxruntime")
        assert not connection.has("no-such-runtime")


def test_two_at_once_are_told_and_whoever_is_first_goes_on(board: Device) -> None:
    with remote(board) as one, remote(board) as other:
        with (
            one.locked(),
            pytest.raises(TargetError, match="is in use: another measurement goes on there"),
            other.locked(0),
        ):
            pass
        with other.locked(60):
            pass


def test_the_lock_is_the_one_of_whoever_measures_on_the_device_itself(board: Device) -> None:
    with (
        measurement_lock(),
        remote(board) as connection,
        pytest.raises(TargetError, match="is in use"),
        connection.locked(0.2),
    ):
        pass


@pytest.mark.measured
def test_a_lock_is_kept_while_its_holder_hears_that_the_measurement_goes_on(
    board: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ssh, "PATIENCE_S", 3)
    monkeypatch.setattr(ssh, "BEAT_S", 0.3)
    with remote(board) as one, remote(board) as other, one.locked():
        time.sleep(4)
        with pytest.raises(TargetError, match="is in use"), other.locked(0):
            pass


def test_who_falls_silent_loses_the_lock(board: Device) -> None:
    """As behind a cable that was pulled: the connection stands, and nothing comes through it."""
    with remote(board) as one, remote(board) as other, one.start("the lock") as silent:
        while not silent.ask({"verb": "lock", "wait_s": 5, "patience_s": 1}, 30)["held"]:
            pass
        with other.locked(60):
            pass


def test_a_lock_that_was_lost_is_told(board: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ssh, "BEAT_S", 0.5)
    monkeypatch.setattr(ssh, "PATIENCE_S", 0.1)
    with remote(board) as connection, pytest.raises(TargetError, match="the device board failed"), connection.locked():
        time.sleep(2)


def test_an_engine_larger_than_the_memory_of_the_device_is_not_sent(
    board: Device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = tiny_engines.engine(tiny_engines.write_onnx(tmp_path / "net.onnx"), "net")
    with remote(board) as connection:
        monkeypatch.setattr(connection, "_identity", {**connection.probe(), "memory_mb": 0.0001})
        with pytest.raises(TargetError, match=r"the engine net/.* MB, and the device board has 0 MB of memory"):
            network.sent(connection)
    assert connection._sent == {}


def test_a_disk_that_fills_up_while_files_are_sent_is_told(board: Device, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    sshd.as_root("mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(disk))
    try:
        large = tmp_path / "large.npy"
        large.write_bytes(os.urandom(500_000))
        with pytest.raises(TargetError, match="its disk is full; make room"):
            Line(board).copied([large], f"{disk}/session")
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_an_engine_answers_there_as_it_does_here(board: Device, tmp_path: Path) -> None:
    network = tiny_engines.write_onnx(tmp_path / "net.onnx")
    inputs = tiny_engines.write_inputs(tmp_path / "inputs.npy")
    engines = [
        tiny_engines.engine(network, "net"),
        tiny_engines.engine(tiny_engines.write_openvino(network, tmp_path / "net"), "net", "openvino"),
    ]
    for number, place in enumerate((remote(board), local())):
        with place as connection:
            for engine in engines:
                outputs(engine, inputs, tmp_path / f"{engine.runtime}-{number}.npy", batch=1, connection=connection)
    for engine in engines:
        there, here = (np.load(tmp_path / f"{engine.runtime}-{number}.npy") for number in range(2))
        np.testing.assert_array_equal(there, here)


def test_every_verb_of_a_running_engine_answers_there(board: Device, tmp_path: Path) -> None:
    engine = tiny_engines.engine(tiny_engines.write_onnx(tmp_path / "net.onnx"), "net")
    inputs = tiny_engines.write_inputs(tmp_path / "inputs.npy")
    with remote(board) as connection:
        called = engine.called(OperatingPoint(), inputs, connection)
        requests = [
            {"verb": "time", "step": "open", **called},
            {"verb": "memory", "runs": 32, **called},
            {"verb": "throughput", "window_s": 0.05, **called},
            {"verb": "energy", "window_s": 0.05, "idle_s": 0.05, **called},
            {"verb": "layers", "runs": 10, **called},
            {"verb": "loadgen", "least_queries": 16, "least_ms": 1, **called},
            {"verb": "operators", "series_s": 0.05, **called},
            {"verb": "describe", **called},
        ]
        for request in requests:
            with connection.start(str(request["verb"])) as child:
                assert child.ask(request, 60)["ok"]


def test_a_device_across_a_network_is_one_until_the_cable_is_pulled(tmp_path: Path) -> None:
    with sshd.elsewhere() as (address, within), sshd.serving(tmp_path, address, within) as server:
        found = Device(address="board", python=sys.executable, ssh_config=str(server.config))
        with remote(found) as connection, connection.start("board") as child:
            assert child.ask({"verb": "probe"}, 30)["boot"] == machine.probe()["boot"]
            sshd.cut()
            begin = time.monotonic()
            with pytest.raises(TargetError, match=r"the device board (was lost|cannot be used|failed)"):
                child.ask({"verb": "probe"}, 120)
            assert time.monotonic() - begin < 60


def test_nothing_is_left_running(board: Device) -> None:
    with remote(board) as connection:
        child = connection.start("board")
        pid = child.ask({"verb": "probe"}, 30)["state"]["pid"]
        child.kill()
        child.close()
        end = time.monotonic() + 10
        while Path(f"/proc/{pid}").exists() and time.monotonic() < end:
            time.sleep(0.05)
    assert not Path(f"/proc/{pid}").exists()


def test_a_device_has_a_name_in_the_devices_file(server: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "devices.yaml"
    file.write_text(f"lab: {{address: board, python: {sys.executable}, ssh_config: {server.config}}}\n")
    monkeypatch.setenv("EDGEKD_DEVICES", str(file))
    assert device.named("pi@lab2:2222") == Device(address="pi@lab2:2222")
    answer = CliRunner().invoke(doctor.command, ["--device", "lab"], catch_exceptions=False, standalone_mode=False)
    assert answer.return_value == 0
    assert answer.stdout.splitlines()[-1] == f"reached: lab is {machine.host_target()}"
    file.write_text("lab: {adress: board}\n")
    with pytest.raises(UsageError, match="adress"):
        device.named("lab")
    with pytest.raises(UsageError, match="is no device: give user@host"):
        device.named("-oProxyCommand=evil")
