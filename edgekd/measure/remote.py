"""Starts the device package on another machine, by the system's ssh client; nothing listens on the device.

The user's ssh configuration, agent and known hosts hold; host keys are verified. The zipapp goes to the user's cache on
the device, once for every digest; engines and inputs go to a folder of the session, which is removed at the end. A
process there is killed with the connection it came by.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import tarfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

from edgekd.artifact import digest_of_path
from edgekd.disk import scratch
from edgekd.errors import EdgekdError, TargetError
from edgekd.measure.connection import Connection, pack
from edgekd.measure.device import Device

LEAST_PYTHON = (3, 8)
_CONNECT_S, _ALIVE_S, _SILENCES = 10, 5, 3
_QUICK_S, _UPLOAD_S = 60.0, 1800.0
_SSH_FAILED, _NOT_FOUND = 255, 127
_CACHE = '"${XDG_CACHE_HOME:-$HOME/.cache}/edgekd"'
_HELLO = (
    "import json, os, platform, shutil, sys; c = sys.argv[1]; os.makedirs(c, exist_ok=True); print(json.dumps(dict("
    "python=list(sys.version_info[:2]), machine=platform.machine(), cache=c, free=shutil.disk_usage(c).free)))"
)
_SENTENCES = (
    ("REMOTE HOST IDENTIFICATION HAS CHANGED", "its host key has changed; find out why before you trust it again"),
    ("Host key verification failed", "its host key is not known; look at it and accept it once with: ssh {address}"),
    ("Permission denied", "it lets nobody in by that user and key; try: ssh {address}"),
    ("Could not resolve hostname", "there is no host of that name"),
    ("Connection refused", "nothing answers there; is sshd running, and is the port right?"),
    ("timed out", "it does not answer; is it on, and on this network?"),
    ("No route to host", "there is no way to it; is it on, and on this network?"),
    ("No space left on device", "its disk is full; make room in the cache of the user there"),
)


@contextmanager
def remote(device: Device) -> Iterator[Connection]:
    """Yield a connection to a device; raises TargetError with one sentence where that cannot be."""
    line = _Line(device)
    hello = line.hello()
    session = f"{hello['cache']}/sessions/{uuid4().hex}"
    with scratch("edgekd-device") as folder:
        archive = line.pushed(pack(folder / "edgekd-device.pyz"), hello)
        try:
            yield RemoteConnection(line, archive, session, int(hello["free"]))
        finally:
            line.run(f"rm -rf {shlex.quote(session)}", quiet=True)


class RemoteConnection(Connection):
    """A device at the other end of a line."""

    def __init__(self, line: _Line, archive: str, session: str, free: int) -> None:
        super().__init__(line.command(f"exec {shlex.quote(line.device.python)} {shlex.quote(archive)}"), line.explained)
        self._line, self._session, self._free = line, session, free
        self._sent: dict[str, str] = {}

    def sent(self, path: Path) -> str:
        """Return the path on the device of a copy of a file or folder; equal ones are copied once."""
        digest = digest_of_path(path)
        if digest not in self._sent:
            size = sum(
                file.stat().st_size for file in ([path] if path.is_file() else path.rglob("*")) if file.is_file()
            )
            self._free -= self._line.refuse_full(size, self._free)
            self._line.copied(path, f"{self._session}/{digest[:16]}")
            self._sent[digest] = f"{self._session}/{digest[:16]}/{path.name}"
        return self._sent[digest]


class _Line:
    """Single commands on a device."""

    def __init__(self, device: Device) -> None:
        self.device = device

    def command(self, remote: str) -> list[str]:
        """Return the command that runs one on the device."""
        host, _, port = self.device.address.partition(":")
        options = ["BatchMode=yes", "StrictHostKeyChecking=yes", f"ConnectTimeout={_CONNECT_S}"]
        options += [f"ServerAliveInterval={_ALIVE_S}", f"ServerAliveCountMax={_SILENCES}"]
        config = ["-F", self.device.ssh_config] if self.device.ssh_config else []
        number = ["-p", port] if port else []
        return ["ssh", "-T", *config, *(part for option in options for part in ("-o", option)), *number, host, remote]

    def run(self, remote: str, given: Path | None = None, *, seconds: float = _QUICK_S, quiet: bool = False) -> str:
        """Run a command on the device, fed with a file, and return what it prints.

        Raises TargetError with the reason where it fails, unless `quiet`.
        """
        try:
            with open(given or "/dev/null", "rb") as stream:
                done = subprocess.run(
                    self.command(remote), stdin=stream, capture_output=True, timeout=seconds, check=False
                )
        except subprocess.TimeoutExpired:
            raise self._error(f"gave no answer for {seconds:g} s") from None
        except OSError as error:
            raise TargetError(f"ssh cannot be started: {error}; install an OpenSSH client") from error
        if done.returncode and not quiet:
            said = done.stderr.decode(errors="replace")
            raise self.explained(done.returncode, said) or self._error(f"refused a command: {_last(said)}")
        return done.stdout.decode(errors="replace")

    def hello(self) -> dict[str, Any]:
        """Return what the device says of itself: its Python, machine, cache folder and the free bytes there."""
        python = shlex.quote(self.device.python)
        printed = self.run(f"{python} -c {shlex.quote(_HELLO)} {_CACHE}").strip()
        before, _, last = printed.rpartition("\n")
        try:
            found = dict(json.loads(last))
        except ValueError:
            raise self._error(f"answered no JSON but {last[:80]!r}; is '{self.device.python}' a Python?") from None
        if before:
            raise self._error(
                f"prints {before.splitlines()[0][:60]!r} before anything else; keep the shell's start-up files silent "
                "for commands"
            )
        if tuple(found["python"]) < LEAST_PYTHON:
            version = ".".join(map(str, found["python"]))
            raise self._error(f"has Python {version}; edgekd needs 3.8 there (`python` in the devices file names one)")
        return found

    def pushed(self, archive: Path, hello: dict[str, Any]) -> str:
        """Return the path of the zipapp on the device, sent unless it is there."""
        place = f"{hello['cache']}/agent/{digest_of_path(archive)[:32]}.pyz"
        quoted, folder = shlex.quote(place), shlex.quote(place.rpartition("/")[0])
        if self.run(f"test -f {quoted} && echo there || true").strip() != "there":
            self.refuse_full(archive.stat().st_size, int(hello["free"]))
            part = f"{quoted}.$$"
            self.run(f"mkdir -p {folder} && cat > {part} && mv {part} {quoted} || {{ rm -f {part}; exit 1; }}", archive)
        return place

    def copied(self, path: Path, folder: str) -> None:
        """Copy a file or folder into a folder of the device."""
        quoted = shlex.quote(folder)
        with scratch("edgekd-upload") as place:
            packed = place / "upload.tar"
            with tarfile.open(packed, "w") as tar:
                tar.add(path, arcname=path.name)
            self.run(f"umask 077 && mkdir -p {quoted} && tar -xf - -C {quoted}", packed, seconds=_UPLOAD_S)

    def refuse_full(self, size: int, free: int) -> int:
        """Return `size`; raises TargetError where so many bytes do not fit."""
        if size > free:
            raise self._error(f"has {free / 1e6:.0f} MB free where its user's cache is; {size / 1e6:.0f} MB are needed")
        return size

    def explained(self, code: int, said: str) -> EdgekdError | None:
        """Return the error for what ssh, or the shell there, ended with; None where it was neither."""
        for part, sentence in _SENTENCES:
            if part in said:
                return self._error(f"cannot be used: {sentence.format(address=self.device.address)}")
        if code == _NOT_FOUND:
            return self._error(f"has no '{self.device.python}'; name its interpreter as `python` in the devices file")
        if code == _SSH_FAILED:
            return self._error(f"was lost: {_last(said)}; the run is resumable, give the same command again")
        return None

    def _error(self, what: str) -> TargetError:
        return TargetError(f"the device {self.device.address} {what}")


def _last(said: str) -> str:
    lines: Sequence[str] = [line.strip() for line in said.splitlines() if line.strip()]
    return lines[-1][:200] if lines else "it says nothing"
