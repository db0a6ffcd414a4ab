"""A device at the other end of a real sshd: what it answers, what is left on it, and every way it can be missing."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from edgekd.cli.commands import doctor
from edgekd.errors import MeasurementError, TargetError, UsageError
from edgekd.measure import device, machine
from edgekd.measure.connection import Child, local
from edgekd.measure.device import Device
from edgekd.measure.remote import remote
from tests.bundles import conv_file
from tests.measure import sshd
from tests.measure.sshd import Sshd

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
        with pytest.raises((TargetError, MeasurementError), match=r"ended|was lost"):
            child.ask({"verb": "probe"}, 30)


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
