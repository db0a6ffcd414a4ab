"""A disk of its own for tests that fill it or make it read-only: a tmpfs, which takes root to mount."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest


class Tmpfs:
    """One small file system."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def mount(self, size: int) -> Path:
        """Mount it with this many bytes and return where."""
        self.folder.mkdir(exist_ok=True)
        command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(self.folder)]
        try:
            answer = subprocess.run(command, capture_output=True, text=True, check=False)
        except FileNotFoundError:
            pytest.skip("no disk to fill: there is no mount command here")
        if answer.returncode:
            pytest.skip(f"no disk to fill: a tmpfs cannot be mounted here: {answer.stderr.strip()}")
        return self.folder

    def remount(self, options: str) -> None:
        """Change its options, such as `size=1000000` or `ro`."""
        subprocess.run(["mount", "-o", f"remount,{options}", str(self.folder)], check=True, capture_output=True)

    def unmount(self) -> None:
        """Unmount it."""
        subprocess.run(["umount", "--lazy", str(self.folder)], check=False, capture_output=True)
