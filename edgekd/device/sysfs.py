"""Reads the small text files in which Linux tells about the machine; what cannot be read is simply not there."""

from __future__ import annotations

import glob
from typing import List, Optional


def text(path: str) -> Optional[str]:
    """Return a file's text without the blanks and zero bytes around it, None when it cannot be read."""
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            return stream.read().strip("\x00\n ")
    except OSError:
        return None


def texts(pattern: str) -> List[str]:
    """Return the texts of all files that match a glob pattern, in the order of their names, empty ones left out."""
    return [found for found in (text(path) for path in sorted(glob.glob(pattern))) if found]


def numbers(pattern: str) -> List[int]:
    """Return the whole numbers in the files that match a glob pattern."""
    return [int(found) for found in texts(pattern) if found.isdigit()]
