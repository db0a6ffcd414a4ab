"""The user's cache: all that edgekd keeps outside run folders, because making it again costs time."""

from __future__ import annotations

import os
import re
import shutil
import stat
from dataclasses import dataclass
from pathlib import Path

from edgekd.errors import ResourceError

_MADE_HERE = ("stores", "supernets", "teachers", "trials")
_DECLARED = ("hosts",)
"""What a user said once, such as that this machine's milliseconds count; nothing makes it again by itself."""
_LEARNED = ("bank",)
"""What earlier searches have learned, a folder a task: kilobytes that hours of training would have to make again."""
_DOWNLOADED = "datasets"
_MEASURED = "profiles"
"""Kernel profiles, a folder a target: minutes of measuring on a machine that has to be quiet."""
_DIGEST = re.compile(r"[0-9a-f]{32,64}")


@dataclass(frozen=True)
class Entry:
    """One folder of the cache."""

    kind: str
    name: str
    path: Path
    size_bytes: int
    modified: float
    """When the newest file or folder in it was written, in seconds since 1970."""

    @property
    def made_here(self) -> bool:
        """Return whether edgekd can make it again by itself; downloads need the network, declarations their author."""
        return self.kind in _MADE_HERE


def folder() -> Path:
    """Return where the cache is: `EDGEKD_CACHE`, else `.cache/edgekd` in the home folder. It need not exist."""
    return Path(os.environ.get("EDGEKD_CACHE") or Path.home() / ".cache" / "edgekd")


def entries() -> list[Entry]:
    """Return what the cache holds, oldest first.

    Folders that edgekd has not named are left out, so that a cache folder that also holds other things is safe.
    """
    found = [_entry(_DOWNLOADED, path) for path in _folders(_DOWNLOADED)]
    found += [_entry(_MEASURED, path) for path in _folders(_MEASURED)]
    digested = (*_MADE_HERE, *_DECLARED, *_LEARNED)
    found += [_entry(kind, path) for kind in digested for path in _folders(kind) if _DIGEST.fullmatch(path.name)]
    return sorted(found, key=lambda entry: (entry.modified, entry.kind, entry.name))


def remove(entry: Entry) -> None:
    """Delete an entry; raises ResourceError when this user may not."""
    try:
        shutil.rmtree(entry.path)
    except OSError as error:
        raise ResourceError(f"{entry.path} cannot be deleted: {error.strerror}") from None


def _folders(kind: str) -> list[Path]:
    place = folder() / kind
    return [path for path in place.iterdir() if path.is_dir() and not path.is_symlink()] if place.is_dir() else []


def _entry(kind: str, path: Path) -> Entry:
    size, newest = 0, 0.0
    for place, _, names in os.walk(path):  # takes no offence when a run that goes on renames what is being listed
        for name in (".", *names):
            try:
                state = os.lstat(os.path.join(place, name))
            except FileNotFoundError:
                continue
            size += state.st_size if stat.S_ISREG(state.st_mode) else 0
            newest = max(newest, state.st_mtime)
    return Entry(kind, path.name, path, size, newest)
