"""Devices for tests of the whole chain: an sshd whose Python takes itself for the one of a board."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from edgekd import catalogue
from edgekd.cli.commands import compress
from edgekd.schema import read_yaml
from edgekd.yaml_file import dump_yaml
from tests.connection import sshd
from tests.connection.sshd import Sshd

SIMULATED = Path(sshd.__file__).with_name("simulated")
QUICK = (  # the student is trained as long as any smoke run's: after one epoch it is refused on some processors
    *("--set", "stages.teacher.epochs=1", "--set", "budget.accuracy_drop=95"),
    *("--set", "stages.prune.recovery.epochs=1", "--set", "stages.measure.processes=3"),
)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(compress.command, (*arguments, "--quiet"), catch_exceptions=False, standalone_mode=False)


@contextmanager
def board(folder: Path, target: str, like: str, **changes: object) -> Iterator[Sshd]:
    """Serve a device called `board` that says it is an ARM machine, so that nothing of this one's passes for it.

    `target` is a target of the user's own for it, made from a shipped one; what only a real board shows is left out.
    """
    site, targets = folder / "site", folder / "targets"
    site.mkdir()
    targets.mkdir()
    (site / "sitecustomize.py").write_text("import platform\nplatform.machine = lambda: 'aarch64'\n")
    python = folder / "python"
    path = f"PYTHONPATH={site} LD_LIBRARY_PATH={site}"
    python.write_text(f'#!/bin/sh\n{path} exec {sys.executable} "$@"\n')
    python.chmod(0o755)
    own = {**read_yaml(catalogue.find("targets", like))[0], "name": target, "threads": 1, **changes}
    kept = {key: value for key, value in own.items() if key not in {"isa", "lacks", "calls_itself"}}
    (targets / f"{target}.yaml").write_text(dump_yaml(kept))
    with sshd.serving(folder) as server, pytest.MonkeyPatch.context() as patch:
        entry = {"address": "board", "python": str(python), "ssh_config": str(server.config)}
        (folder / "devices.yaml").write_text(dump_yaml({"board": entry}))
        patch.setenv("EDGEKD_DEVICES", str(folder / "devices.yaml"))
        patch.setenv("EDGEKD_TARGETS", str(targets))
        yield server


def with_tensorrt(site: Path) -> None:
    """Give the device's Python what stands in for TensorRT and for the driver of a GPU."""
    (site / "tensorrt.py").write_text((SIMULATED / "tensorrt.py").read_text())
    told = site / "tensorrt-10.3.0.dist-info"
    told.mkdir()
    (told / "METADATA").write_text("Metadata-Version: 2.1\nName: tensorrt\nVersion: 10.3.0\n")
    source = str(SIMULATED / "cuda.c")
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", str(site / "libcuda.so.1"), source], check=True)
