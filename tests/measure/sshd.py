"""A real sshd on loopback, of whoever runs the tests; his own keys, and what he has at home, stay out of it."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

PROGRAM = shutil.which("sshd") or shutil.which("sshd", path="/usr/sbin:/sbin")


@dataclass
class Sshd:
    """One server, and a configuration for the client in which it is called `board`."""

    folder: Path
    port: int
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

    def connections(self) -> list[int]:
        """Return the processes of the server that hold a connection each."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(word) for word in children.read_text().split()]


@contextmanager
def serving(folder: Path) -> Iterator[Sshd]:
    """Start a server that lets in whoever runs the tests, by a key made for it."""
    for name in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)], check=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    public = (folder / "host.pub").read_text().split()
    (folder / "known_hosts").write_text(f"[127.0.0.1]:{port} {public[0]} {public[1]}\n")
    (folder / "authorized_keys").write_text((folder / "user.pub").read_text())
    server = {
        "Port": port,
        "ListenAddress": "127.0.0.1",
        "HostKey": folder / "host",
        "AuthorizedKeysFile": folder / "authorized_keys",
        "PidFile": folder / "pid",
        "StrictModes": "no",
        "UsePAM": "no",
        "PasswordAuthentication": "no",
        "SetEnv": f"XDG_CACHE_HOME={folder / 'cache'}",
    }
    client = {
        "HostName": "127.0.0.1",
        "Port": port,
        "User": getpass.getuser(),
        "IdentityFile": folder / "user",
        "IdentitiesOnly": "yes",
        "UserKnownHostsFile": folder / "known_hosts",
        "GlobalKnownHostsFile": "/dev/null",
    }
    (folder / "sshd_config").write_text("".join(f"{key} {value}\n" for key, value in server.items()))
    (folder / "ssh_config").write_text("Host board\n" + "".join(f"  {key} {value}\n" for key, value in client.items()))
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # where the server gives up its privileges
    process = subprocess.Popen([str(PROGRAM), "-D", "-f", str(folder / "sshd_config")], stderr=subprocess.DEVNULL)
    try:
        _await(port, process)
        yield Sshd(folder, port, process)
    finally:
        process.terminate()
        process.wait()


def _await(port: int, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + 10
    while time.monotonic() < end and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise RuntimeError("sshd does not start")
