"""A real sshd on loopback, of whoever runs the tests; his own keys, and what he has at home, stay out of it."""

from __future__ import annotations

import getpass
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

PROGRAM = shutil.which("sshd") or shutil.which("sshd", path="/usr/sbin:/sbin")


@dataclass
class Sshd:
    """One server, and a configuration for the client in which it is called `board`."""

    folder: Path
    host: str
    port: int
    within: tuple[str, ...]
    process: subprocess.Popen[bytes]

    @property
    def config(self) -> Path:
        return self.folder / "ssh_config"

    @property
    def known_hosts(self) -> Path:
        return self.folder / "known_hosts"

    @property
    def cache(self) -> Path:
        """The cache of the user on the device."""
        return self.folder / "cache"

    def reboot(self) -> None:
        """Let every connection end and answer no new one, until it is back."""
        self.process.send_signal(signal.SIGSTOP)  # lets none in, nor forget one that ends by itself meanwhile
        for held in self.connections():
            os.kill(held, signal.SIGKILL)
        self.process.kill()
        self.process.wait()

    def back(self) -> None:
        """Answer again."""
        self.process = _started(self.folder, self.host, self.port, self.within)

    def connections(self) -> list[int]:
        """Return the processes of the server that hold a connection each."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(word) for word in children.read_text().split()]


@contextmanager
def serving(folder: Path, host: str = "127.0.0.1", within: tuple[str, ...] = ()) -> Iterator[Sshd]:
    """Start a server that lets in whoever runs the tests, by a key made for it.

    It listens at the address `host`; `within` are the words that start a command where that address is.
    """
    for name in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)], check=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    public = (folder / "host.pub").read_text().split()
    (folder / "known_hosts").write_text(f"[{host}]:{port} {public[0]} {public[1]}\n")
    (folder / "authorized_keys").write_text((folder / "user.pub").read_text())
    own = {
        "HOME": folder,  # what the user's shell does when it starts takes longer than the command
        "XDG_CACHE_HOME": folder / "cache",
        "TMPDIR": tempfile.gettempdir(),  # there lies the machine's lock
    }
    settings = {
        "Port": port,
        "ListenAddress": host,
        "HostKey": folder / "host",
        "AuthorizedKeysFile": folder / "authorized_keys",
        "PidFile": folder / "pid",
        "StrictModes": "no",
        "UsePAM": "no",
        "PasswordAuthentication": "no",
        "SetEnv": " ".join(f"{name}={value}" for name, value in own.items()),
    }
    client = {
        "HostName": host,
        "Port": port,
        "User": getpass.getuser(),
        "IdentityFile": folder / "user",
        "IdentitiesOnly": "yes",
        "UserKnownHostsFile": folder / "known_hosts",
        "GlobalKnownHostsFile": "/dev/null",
    }
    (folder / "sshd_config").write_text("".join(f"{key} {value}\n" for key, value in settings.items()))
    (folder / "ssh_config").write_text("Host board\n" + "".join(f"  {key} {value}\n" for key, value in client.items()))
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # where the server gives up its privileges
    server = Sshd(folder, host, port, within, _started(folder, host, port, within))
    try:
        yield server
    finally:
        server.reboot()  # what hangs on a line that was cut would stay for an hour


def _started(folder: Path, host: str, port: int, within: tuple[str, ...]) -> subprocess.Popen[bytes]:
    command = [*within, str(PROGRAM), "-D", "-f", str(folder / "sshd_config")]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    _await(host, port, process)
    return process


def _await(host: str, port: int, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + 10
    while time.monotonic() < end and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex((host, port)) == 0:
                return
        time.sleep(0.05)
    raise RuntimeError("sshd does not start")


def as_root(*command: str) -> None:
    """Run what only root may, and not everywhere; skip the test where that is refused."""
    if shutil.which(command[0]) is None or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("no small disk and no network of one's own here: these need root")


@contextmanager
def elsewhere() -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield an address across a network of its own, and what starts a command there; needs root."""
    name, near, far = f"edgekd{os.getpid()}", _cable("a"), _cable("b")
    commands = [
        f"ip netns add {name}",
        f"ip link add {near} type veth peer name {far} netns {name}",
        f"ip addr add 10.213.47.1/30 dev {near}",
        f"ip link set {near} up",
        f"ip netns exec {name} ip addr add 10.213.47.2/30 dev {far}",
        f"ip netns exec {name} ip link set {far} up",
        f"ip netns exec {name} ip link set lo up",
    ]
    try:
        for command in commands:
            as_root(*command.split())
        yield "10.213.47.2", ("ip", "netns", "exec", name)
    finally:
        subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)


def cut() -> None:
    """Pull the cable of the network of `elsewhere`: nobody is told, packets just do not arrive any more."""
    subprocess.run(["ip", "link", "set", _cable("a"), "down"], check=True)


def _cable(end: str) -> str:
    return f"ek{os.getpid() % 100000}{end}"
