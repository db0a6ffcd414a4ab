"""Starts the device package on another machine, by the system's ssh client; nothing listens on the device.

The user's ssh configuration, agent and known hosts hold; host keys are verified. The zipapp goes to the user's cache on
the device, once for every digest; engines and inputs go to a folder of the session, which is removed at the end. A
process there is killed with the connection it came by.
"""

from __future__ import annotations

import json
import logging
import shlex
import subprocess
import tarfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

from edgekd.artifact import digest_of_path
from edgekd.connection.child import ENDED, Child, Faults
from edgekd.connection.connection import Connection, local, pack
from edgekd.connection.device import Device
from edgekd.connection.lock import WAIT_S, WAITING
from edgekd.disk import scratch, whole_file
from edgekd.errors import EdgekdError, MeasurementError, TargetError
from edgekd.schema import digest_of

log = logging.getLogger("edgekd")

LEAST_PYTHON = (3, 8)
BEAT_S, PATIENCE_S = 10.0, 60
"""How often the holder of a device's lock hears that the measurement goes on, and how long it waits to hear it."""
_CONNECT_S, _ALIVE_S, _SILENCES = 10, 5, 3
_QUICK_S, _COPY_S = 60.0, 1800.0
_SSH_FAILED, _NOT_FOUND = 255, 127
_AGAIN = "the run is resumable, give the same command again"
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


def at(device: Device | None) -> AbstractContextManager[Connection]:
    """Return a connection to a device, or to this machine where none is given."""
    return local() if device is None else remote(device)


class RemoteConnection(Connection):
    """A device at the other end of a line."""

    is_here = False

    def __init__(self, line: _Line, archive: str, session: str, free: int) -> None:
        super().__init__(line.command(f"exec {shlex.quote(line.device.python)} {shlex.quote(archive)}"), _Faults(line))
        self.name = f"the device {line.device.address}"
        self._line, self._session, self._free = line, session, free
        self._sent: dict[str, str] = {}
        self._useless: list[str] = []
        self._sending = threading.Lock()
        self._identity: dict[str, Any] = {}

    def probe(self) -> dict[str, Any]:
        """Return what the device says of itself; every time by a process of its own, which has done nothing else."""
        with self.start("the probe") as child:
            found = child.ask({"verb": "probe"}, _QUICK_S)
        found.pop("ok")
        self._identity = found
        return found

    def has(self, runtime: str) -> bool:
        """Return whether a runtime is installed there."""
        return runtime.replace("-", "_") in self._known()["versions"]

    def cores(self) -> int:
        """Return how many cores a process may run on there."""
        found = self._known()
        return len(found["state"]["affinity"] or ()) or int(found["cores"] or 1)

    @contextmanager
    def locked(self, timeout_s: float = WAIT_S) -> Iterator[None]:
        """Hold the device's measurement lock, by a process there that ends when it hears nothing from here any more.

        Raises TargetError when it is not free within `timeout_s`, or was lost before the end.
        """
        with self.start("the lock") as child:
            self._acquire(child, timeout_s)
            over = threading.Event()
            lost: list[EdgekdError] = []
            beating = threading.Thread(target=_beat, args=(child, over, lost), daemon=True)
            beating.start()
            try:
                yield
            finally:
                over.set()
                beating.join()
            if lost:
                raise lost[0]

    def _acquire(self, child: Child, timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        asked = {"verb": "lock", "patience_s": PATIENCE_S}
        held = child.ask({**asked, "wait_s": 0}, _QUICK_S)["held"]
        if not held and timeout_s > 0:
            log.info(WAITING, self.name)
        while not held and time.monotonic() < deadline:
            wait_s = min(BEAT_S, max(deadline - time.monotonic(), 0))
            held = child.ask({**asked, "wait_s": wait_s}, _QUICK_S)["held"]
        if not held:
            raise TargetError(
                f"{self.name} is in use: another measurement goes on there, and two at a time would measure each "
                "other; give the same command again when it has ended"
            )

    def sent(self, path: Path, parts: Sequence[Path] = ()) -> str:
        """Return the path on the device of a copy of a file or folder; equal ones are copied once."""
        files = [file for file in (path.rglob("*") if path.is_dir() else parts or (path,)) if file.is_file()]
        digest = digest_of([path.name, digest_of_path(path), *map(digest_of_path, parts)])
        with self._sending:
            if digest not in self._sent:
                size = sum(map(_size, files))
                self._free -= self._line.refuse_full(size, self._free)
                folder = f"{self._session}/{digest[:16]}"
                self._line.copied([path] if path.is_dir() else files, folder, instead_of=self._useless)
                self._useless = []
                self._sent[digest] = f"{folder}/{path.name}"
            return self._sent[digest]

    def dropped(self, path: Path) -> None:
        """Let what was sent of a file or folder make room for the next that is."""
        digest = digest_of([path.name, digest_of_path(path)])
        with self._sending:
            there = self._sent.pop(digest, None)
            if there is not None:
                self._useless.append(there.rpartition("/")[0])
                self._free += _size(path)

    @contextmanager
    def receiving(self, path: Path) -> Iterator[str]:
        """Yield the path a process there writes a file to; after that the file is at `path`."""
        there = f"{self._session}/{uuid4().hex}/{path.name}"
        yield there
        with whole_file(path) as unfinished:
            self._line.run(f"cat {shlex.quote(there)}", seconds=_COPY_S, into=unfinished)

    def refuse_large(self, size_mb: float, what: str) -> None:
        """Raise TargetError where so much cannot be in the memory of the device."""
        memory_mb = self._known()["memory_mb"]
        if memory_mb is not None and size_mb > memory_mb:
            raise TargetError(f"{what} is {size_mb:.0f} MB, and {self.name} has {memory_mb:.0f} MB of memory")

    def _known(self) -> dict[str, Any]:
        return self._identity or self.probe()


def _size(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else (path,)
    return sum(file.stat().st_size for file in files if file.is_file())


def _beat(child: Child, over: threading.Event, lost: list[EdgekdError]) -> None:
    """Let the holder of a lock hear from here until it is over."""
    while not over.wait(BEAT_S):
        try:
            child.ask({"verb": "lock", "patience_s": PATIENCE_S}, _QUICK_S)
        except EdgekdError as error:
            lost.append(error)
            return


class _Faults(Faults):
    """Whatever keeps a device from answering, the run here can go on when it answers again."""

    def __init__(self, line: _Line) -> None:
        self._line = line

    def failed(self, label: str, what: str, code: int, said: str) -> EdgekdError:
        """Return the error for a process that ended, gave no answer or wrote no JSON."""
        found = self._line.explained(code, said) if what == ENDED else None
        told = f"; its last words: {said}" if said else ""
        how = f" with exit status {code}" if what == ENDED else ""
        return found or self._line.error(f"failed: the process of {label} {what}{how}{told}; {_AGAIN}")

    def refused(self, label: str, kind: str, said: str) -> EdgekdError:
        """Return the error for a request that ended in an exception there."""
        if kind in {"ImportError", "ModuleNotFoundError"}:
            return self._line.error(f"cannot run {label}: {said}")
        if kind == "MemoryError":
            return self._line.error(f"has too little memory for {label}: {said}; {_AGAIN}")
        if kind == "OSError":
            return self._line.explained(0, said) or self._line.error(f"failed at {label}: {said}; {_AGAIN}")
        return MeasurementError(f"the measuring process of {label} refused: {said}")


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

    def run(
        self,
        remote: str,
        given: Path | None = None,
        *,
        seconds: float = _QUICK_S,
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
            self.run(f"{before}umask 077 && mkdir -p {quoted} && tar -xf - -C {quoted}", packed, seconds=_COPY_S)

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
            return self.error(f"{how}{f': {_last(said)}' if said.strip() else ''}; {_AGAIN}")
        return None

    def error(self, what: str) -> TargetError:
        """Return the error for what the device does."""
        return TargetError(f"the device {self.device.address} {what}")


def _last(said: str) -> str:
    lines: Sequence[str] = [line.strip() for line in said.splitlines() if line.strip()]
    return lines[-1][:200] if lines else "it says nothing"
