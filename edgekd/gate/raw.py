"""The folder of raw JSON lines: what an earlier session left is removed, because nothing may rest on it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from edgekd.errors import ResourceError
from edgekd.measure.meter import METERS


def emptied(folder: Path, *within: Path) -> Path:
    """Return the folder, made where it is not there, without the raw lines edgekd wrote before; other files stay.

    The same goes for the folders `within`, which are not made. Raises ResourceError when nothing can be written there.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for file in (file for place in (folder, *within) for file in _known(place)):
            file.unlink(missing_ok=True)
    except OSError as error:
        raise ResourceError(f"raw values cannot be written to {folder}: {error.strerror}; give another --raw") from None
    return folder


def written(*folders: Path) -> tuple[str, ...]:
    """Return the paths of the raw lines in these folders."""
    return tuple(str(file) for folder in folders for file in sorted(_known(folder)) if file.is_file())


def _known(folder: Path) -> Iterable[Path]:
    names = [*METERS.names(), "answers", "host"]
    return [*(folder / f"{name}.jsonl" for name in names), *folder.glob("layers-*.jsonl")]
