"""Recognises a full disk, a lack of memory and a folder that must not be written, in whatever a library raises.

torch, safetensors, ONNX Runtime and OpenVINO report these in classes and words of their own, numpy cuts a file short.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from edgekd.errors import EdgekdError, ResourceError, UsageError

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_SAYS_FULL = re.compile(
    r"no space left on device|disk quota exceeded|os error 28\b|\[errno 28\]"
    r"|\d+ requested and \d+ written"  # numpy, of an array that did not fit
    r"|basic_ios::clear",  # OpenVINO, of any write that failed
    re.IGNORECASE,
)
_FORBIDDEN = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})
_SAYS_MEMORY = re.compile(
    r"can't allocate memory|cannot allocate memory|unable to allocate|failed to allocate|bad_alloc|bad allocation"
    r"|not enough memory|out of memory"
    r"|could not create a primitive",  # oneDNN, of code it generates and finds no room for
    re.IGNORECASE,
)


def disk_is_full(error: BaseException) -> bool:
    """Return whether an error, or one it came from, says that a disk is full."""
    return any(
        (isinstance(one, OSError) and one.errno in _FULL) or (_is_spoken(one) and _SAYS_FULL.search(str(one)))
        for one in _chain(error)
    )


def memory_is_out(error: BaseException) -> bool:
    """Return whether an error, or one it came from, says that memory did not suffice."""
    return any(
        isinstance(one, MemoryError)
        or (isinstance(one, OSError) and one.errno == errno.ENOMEM)
        or (_is_spoken(one) and _SAYS_MEMORY.search(str(one)))
        for one in _chain(error)
    )


def shortage(error: BaseException, places: Mapping[str, Path], doing: str = "this command") -> EdgekdError | None:
    """Return the error to tell the user, None when `error` is about something else.

    `places` are the folders that are written to, each by the setting that names it. A full disk and a lack of memory
    are this machine's (ResourceError, exit 8). A folder that may not be written is a wrong place to have named
    (UsageError, exit 2): nothing that is freed would help, another folder does.
    """
    if isinstance(error, ResourceError):
        return None
    if disk_is_full(error):
        how, folder = min(places.items(), key=_free, default=("", Path.cwd()))
        other = f", or give another {how}" if how else ""
        return ResourceError(
            f"{doing} found no space left on the disk of {folder}; free some there{other}, "
            "the same command then goes on where it stopped"
        )
    if memory_is_out(error):
        return ResourceError(f"{doing} ran out of memory; a smaller batch in the recipe needs less")
    if isinstance(error, UsageError):
        return None
    for one in _chain(error):
        if isinstance(one, OSError) and one.errno in _FORBIDDEN and one.filename is not None:
            path = Path(os.fsdecode(one.filename)).absolute()
            for how, folder in places.items():
                if path.is_relative_to(folder.absolute()):
                    return UsageError(f"{folder} cannot be written: {one.strerror}; give another {how}")
    return None


def _free(place: tuple[str, Path]) -> int:
    """Return the free bytes of the disk a folder is on, or will be on."""
    folder = place[1].absolute()
    existing = next((f for f in (folder, *folder.parents) if f.exists()), Path.cwd())
    return shutil.disk_usage(existing).free


def _is_spoken(error: BaseException) -> bool:
    """Return whether the words of an error are all there is to judge it by; a usage error may quote the user's own."""
    return isinstance(error, Exception) and not isinstance(error, UsageError)


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and what it came from."""
    seen: set[int] = set()
    found: BaseException | None = error
    while found is not None and id(found) not in seen:
        seen.add(id(found))
        yield found
        found = found.__cause__ or found.__context__
