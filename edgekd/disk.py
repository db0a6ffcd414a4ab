"""Files and folders that appear whole or not at all, whenever a process is killed; what a dead one left is cleared.

Everything is written in a workplace beside its destination, `.<name>.<random>.unfinished`, brought to the disk and then
renamed. A living process holds a lock on its workplace, which the kernel frees when it dies; so a workplace nobody
holds is rubbish, whoever made it, and whatever other processes write meanwhile.
"""

from __future__ import annotations

import errno
import glob
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgekd.errors import ResourceError
from edgekd.shortage import disk_is_full

_UNFINISHED = ".unfinished"


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield where to write a file; at the end it takes the place of `path` in one step.

    An error leaves the old file as it was; raises ResourceError when the disk is full.
    """
    with _workplace(path) as place:
        unfinished = place / path.name
        yield unfinished
        _to_disk(unfinished)
        unfinished.replace(path)
        _to_disk(path.parent)


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder to fill; at the end it takes the place of `path`, whatever was there.

    An error leaves the old folder as it was; raises ResourceError when the disk is full.
    """
    with _workplace(path) as place:
        unfinished = place / path.name
        unfinished.mkdir()
        yield unfinished
        for found in (*unfinished.rglob("*"), unfinished):
            _to_disk(found)
        _put(unfinished, path, place / f"{path.name}.replaced")
        _to_disk(path.parent)


@contextmanager
def scratch(name: str, folder: Path | None = None) -> Iterator[Path]:
    """Yield an empty folder in the system's place for temporary files; it is removed at the end, whatever happens.

    `folder` is another place, for those who need a short path.
    """
    with _held((folder or Path(tempfile.gettempdir())) / name) as place:
        yield place


@contextmanager
def one_at_a_time(path: Path) -> Iterator[None]:
    """Wait until no other process holds the lock file `path`, and hold it; the kernel frees it when its holder dies."""
    import fcntl

    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def clear(folder: Path) -> None:
    """Remove, at any depth of a folder, what killed processes have left unfinished."""
    for place in folder.rglob(f".*{_UNFINISHED}"):
        _clear(place)


@contextmanager
def _workplace(path: Path) -> Iterator[Path]:
    """Yield a workplace in which nothing but `path` is written, so that a full disk is the one it lies on."""
    try:
        with _held(path) as place:
            yield place
    except ResourceError:
        raise
    except Exception as error:
        if disk_is_full(error):
            raise ResourceError(
                f"no space left on the disk of {path.parent} to write {path.name}; free some there, the same command "
                "then goes on where it stopped"
            ) from error
        raise


@contextmanager
def _held(path: Path) -> Iterator[Path]:
    import fcntl  # not on every system that reads edgekd's files, and only writing needs it

    path.parent.mkdir(parents=True, exist_ok=True)
    for left in path.parent.glob(f".{glob.escape(path.name)}.*{_UNFINISHED}"):
        _clear(left)
    place = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.", suffix=_UNFINISHED))
    try:
        handle = os.open(place, os.O_RDONLY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            place.mkdir(exist_ok=True)  # where another process cleared it before it was held
            yield place
        finally:
            os.close(handle)
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _clear(place: Path) -> None:
    import fcntl

    try:
        handle = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:  # gone, no folder, or another user's
        return
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(place, ignore_errors=True)
    except OSError:  # a living process holds it
        return
    finally:
        os.close(handle)


def _put(new: Path, path: Path, aside: Path) -> None:
    """Rename a folder to `path`; what is there goes aside, also where another process has just put its own there."""
    while True:
        try:
            new.rename(path)
        except OSError as error:
            if error.errno not in {errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR}:
                raise
            shutil.rmtree(aside, ignore_errors=True)
            try:
                path.rename(aside)
            except FileNotFoundError:
                continue
        else:
            return


def _to_disk(path: Path) -> None:
    """Wait until a file's content, or a folder's entries, would survive a power cut."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
