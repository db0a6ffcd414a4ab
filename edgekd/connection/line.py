"""Single commands on a device, by the system's ssh client, and what is to be said when one fails."""

from __future__ import annotations

import json
import shlex
import subprocess
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgekd.artifact import digest_of_path
from edgekd.connection.device import Device
from edgekd.disk import scratch
from edgekd.errors import EdgekdError, TargetError

LEAST_PYTHON = (3, 8)
_CONNECT_S, _ALIVE_S, _SILENCES = 10, 5, 3
QUICK_S, COPY_S = 60.0, 1800.0
_SSH_FAILED, _NOT_FOUND = 255, 127
AGAIN = "the run is resumable, give the same command again"
_CACHE = '"${XDG_CACHE_HOME:-$HOME/.cache}/edgekd"'
_HELLO = """
import json, os, platform, shutil, sys, time
cache, now = sys.argv[1], time.time()
os.makedirs(os.path.join(cache, "sessions"), exist_ok=True)
for left in os.scandir(os.path.join(cache, "sessions")):
    if now - left.stat().st_mtime > 7 * 86400:
        shutil.rmtree(left.path, ignore_errors=True)
print(json.dumps(dict(python=list(sys.version_info[:2]), machine=platform.machine(), cache=cache,
                      free=shutil.disk_usage(cache).free)))
"""
_FULL = "its disk is full; make room where the cache of the user and /tmp are"
_SENTENCES = (
    ("REMOTE HOST IDENTIFICATION HAS CHANGED", "its host key has changed; find out why before you trust it again"),
    ("Host key verification failed", "its host key is not known; look at it and accept it once with: ssh {address}"),
    ("Permission denied (", "it lets nobody in by that user and key; try: ssh {address}"),
    ("Could not resolve hostname", "there is no host of that name"),
    ("Connection refused", "nothing answers there; is sshd running, and is the port right?"),
    ("timed out", "it does not answer; is it on, and on this network?"),
    ("No route to host", "there is no way to it; is it on, and on this network?"),
    ("Network is unreachable", "there is no way to it; is this machine on its network?"),
    ("No space left on device", _FULL),
    ("Wrote only", _FULL),  # so tar puts it
)


class Line:
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

    def run(
        self,
        remote: str,
        given: Path | None = None,
        *,
        seconds: float = QUICK_S,
        quiet: bool = False,
        into: Path | None = None,
    ) -> str:
        """Run a command on the device, fed with a file, and return what it prints, or write that into a file.

        Raises TargetError with the reason where it fails, unless `quiet`.
        """
        try:
            with open(given or "/dev/null", "rb") as stream, open(into or "/dev/null", "wb") as sink:
                done = subprocess.run(
                    self.command(remote),
                    stdin=stream,
                    stdout=subprocess.PIPE if into is None else sink,
                    stderr=subprocess.PIPE,
                    timeout=seconds,
                    check=False,
                )
        except subprocess.TimeoutExpired:
            raise self.error(f"gave no answer for {seconds:g} s") from None
        except OSError as error:
            raise TargetError(f"ssh cannot be started: {error}; install an OpenSSH client") from error
        if done.returncode and not quiet:
            said = done.stderr.decode(errors="replace")
            raise self.explained(done.returncode, said) or self.error(f"refused a command: {_last(said)}")
        return (done.stdout or b"").decode(errors="replace")

    def hello(self) -> dict[str, Any]:
        """Return what the device says of itself: its Python, machine, cache folder and the free bytes there."""
        python = shlex.quote(self.device.python)
        printed = self.run(f"{python} -c {shlex.quote(_HELLO)} {_CACHE}").strip()
        before, _, last = printed.rpartition("\n")
        try:
            found = dict(json.loads(last))
        except ValueError:
            raise self.error(f"answered no JSON but {last[:80]!r}; is '{self.device.python}' a Python?") from None
        if before:
            raise self.error(
                f"prints {before.splitlines()[0][:60]!r} before anything else; keep the shell's start-up files silent "
                "for commands"
            )
        if tuple(found["python"]) < LEAST_PYTHON:
            version = ".".join(map(str, found["python"]))
            raise self.error(f"has Python {version}; edgekd needs 3.8 there (`python` in the devices file names one)")
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

    def copied(self, paths: Sequence[Path], folder: str, instead_of: Sequence[str] = ()) -> None:
        """Copy files or folders into a folder of the device, after others have been removed there."""
        quoted, old = shlex.quote(folder), shlex.join(instead_of)
        before = f"rm -rf {old} && " if instead_of else ""
        with scratch("edgekd-upload") as place:
            packed = place / "upload.tar"
            with tarfile.open(packed, "w") as tar:
                for path in paths:
                    tar.add(path, arcname=path.name)
            self.run(f"{before}umask 077 && mkdir -p {quoted} && tar -xf - -C {quoted}", packed, seconds=COPY_S)

    def refuse_full(self, size: int, free: int) -> int:
        """Return `size`; raises TargetError where so many bytes do not fit."""
        if size > free:
            raise self.error(f"has {free / 1e6:.0f} MB free where its user's cache is; {size / 1e6:.0f} MB are needed")
        return size

    def explained(self, code: int, said: str) -> EdgekdError | None:
        """Return the error for what ssh, or the shell there, ended with; None where it was neither."""
        for part, sentence in _SENTENCES:
            if part in said:
                return self.error(f"cannot be used: {sentence.format(address=self.device.address)}")
        if code == _NOT_FOUND:
            return self.error(f"has no '{self.device.python}'; name its interpreter as `python` in the devices file")
        if code == _SSH_FAILED:
            how = "was lost" if said.strip() else "failed: the process there was killed, for lack of memory perhaps"
            return self.error(f"{how}{f': {_last(said)}' if said.strip() else ''}; {AGAIN}")
        return None

    def error(self, what: str) -> TargetError:
        """Return the error for what the device does."""
        return TargetError(f"the device {self.device.address} {what}")


def _last(said: str) -> str:
    lines: Sequence[str] = [line.strip() for line in said.splitlines() if line.strip()]
    return lines[-1][:200] if lines else "it says nothing"
