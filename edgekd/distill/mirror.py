"""A teacher store that lies elsewhere, at any fsspec URL: shards come from there once, and new ones go there."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any

from edgekd.distill.shard import DESCRIPTION
from edgekd.errors import UsageError


class Mirror:
    """The folder at a URL that a local folder is a copy of, as far as it was needed."""

    def __init__(self, url: str, local: Path) -> None:
        """Open the URL; raises UsageError when no file system takes it."""
        import fsspec

        try:
            filesystem, place = fsspec.core.url_to_fs(url)
        except (ValueError, ImportError, OSError) as error:
            asked = url.rpartition("/")[0]  # without the store's own name
            raise UsageError(
                f"teacher store '{asked}' cannot be reached: {error}; give a folder or a URL fsspec knows, and install "
                "the package for its protocol",
                asked,
            ) from error
        self._files: Any = filesystem
        self._place = PurePosixPath(place)
        self._local = local

    def fetch(self, folder: Path) -> None:
        """Bring what lies under a folder of the local copy and is not there yet; folders come whole."""
        there = self._there(folder)
        if not self._files.exists(str(there)):
            return
        for path in sorted(self._files.find(str(there)), key=lambda found: PurePosixPath(found).name == DESCRIPTION):
            here = self._local / PurePosixPath(path).relative_to(self._root(path))
            if not here.exists():
                here.parent.mkdir(parents=True, exist_ok=True)
                self._files.get_file(path, str(here))

    def send(self, folder: Path) -> None:
        """Put the files of a folder there, its description last, so that nobody reads half of it."""
        files = sorted((p for p in folder.rglob("*") if p.is_file()), key=lambda path: path.name == DESCRIPTION)
        for path in files:
            there = self._there(path)
            self._files.makedirs(str(there.parent), exist_ok=True)
            self._files.put_file(str(path), str(there))

    def _there(self, path: Path) -> PurePosixPath:
        return self._place / path.relative_to(self._local).as_posix()

    def _root(self, found: str) -> PurePosixPath:
        """Return this place as the file system itself writes it, with or without a leading slash."""
        return self._place if found.startswith(str(self._place)) else PurePosixPath(str(self._place).lstrip("/"))
