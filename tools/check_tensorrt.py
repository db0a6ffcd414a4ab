"""Checks every call of TensorRT's API against its real bindings, of both majors, with a type checker and without a GPU.

The bindings are small packages, which are fetched once. The libraries they are linked to need a GPU and gigabytes; a
handful of functions with their names, which do nothing, let the bindings be loaded, and stubs are made of what they
then show of themselves.

    python -m tools.check_tensorrt
"""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MODULES = ("edgekd/runtime/tensorrt_session.py", "edgekd/device/tensorrt_build.py", "edgekd/device/parsing.py")
BINDINGS = {"10": "tensorrt_cu12_bindings==10.3.0", "11": "tensorrt_cu13_bindings==11.4.0.106"}
"""By major: what JetPack 6 has, and the newest."""
_LIBRARIES = ("nvinfer", "nvinfer_plugin", "nvonnxparser")
_SIGNATURE = re.compile(r"^(\s*def \w+)\(.*\) -> .*:$")
_OWN = re.compile(r"\b(?:create\w+_INTERNAL|get\w*PluginRegistry|getNvOnnxParserVersion|initLibNvInferPlugins)\b")


def main() -> int:
    """Check all modules against both majors; returns the exit code."""
    failed = 0
    for major in BINDINGS:
        with tempfile.TemporaryDirectory(prefix="edgekd-tensorrt-") as folder:
            version = stubs(major, Path(folder))
            said = checked([ROOT / module for module in MODULES], Path(folder))
        print(f"TensorRT {version}: {said or 'every call exists'}")
        failed += bool(said)
    return 1 if failed else 0


def checked(modules: list[Path], stubs_folder: Path) -> str:
    """Return what mypy, strict, says of modules against the stubs in a folder; nothing when all is well."""
    config = stubs_folder / "mypy.ini"
    config.write_text("[mypy]\nstrict = true\nfollow_imports = silent\nallow_subclassing_any = true\n")
    command = [sys.executable, "-m", "mypy", "--config-file", str(config), "--no-error-summary"]
    # Generated stubs have faults of their own; what counts is how they are used.
    command += ["--cache-dir", str(stubs_folder / "cache"), *map(str, modules)]
    environment = {**os.environ, "MYPYPATH": str(stubs_folder)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    lines = [line for line in done.stdout.splitlines() if any(line.startswith(_shown(module)) for module in modules)]
    if done.returncode not in {0, 1} or "No module named" in done.stderr:
        raise RuntimeError(f"mypy did not run: {done.stderr or done.stdout}")
    return "\n".join(lines)


def stubs(major: str, folder: Path) -> str:
    """Write the stubs of a major into a folder, as the package `tensorrt`; return the version they are of."""
    package = folder / "made"
    with _loadable(_binding(BINDINGS[major])) as environment:
        command = [sys.executable, "-m", "pybind11_stubgen", "--ignore-all-errors", "-o", str(package), "tensorrt"]
        subprocess.run(command, env=environment, capture_output=True, check=True)
    (made,) = package.rglob("tensorrt*.pyi")
    (folder / "tensorrt").mkdir()
    (folder / "tensorrt" / "__init__.pyi").write_text(f"{_mended(made.read_text())}\n__version__: str\n")
    return BINDINGS[major].partition("==")[2]


def _binding(requirement: str) -> Path:
    """Return the module of a package of bindings, fetched into this environment unless it is there."""
    place = Path(sys.prefix) / "tensorrt-bindings" / requirement
    if not place.is_dir():
        partial = place.with_name(f"{requirement}.{os.getpid()}")
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
        subprocess.run([*command, "--only-binary", ":all:", "--target", str(partial), requirement], check=True)
        partial.rename(place)
    return place / "tensorrt_bindings" / "tensorrt.so"


def _mended(text: str) -> str:
    """Return stubs without the signatures that are no Python, which generators leave where they know no better."""
    lines = text.splitlines()
    while True:
        try:
            ast.parse("\n".join(lines))
        except SyntaxError as error:
            place = (error.lineno or 1) - 1
            mended = _SIGNATURE.sub(r"\1(self, *args: typing.Any, **kwargs: typing.Any) -> typing.Any:", lines[place])
            if mended == lines[place]:
                raise
            lines[place] = mended
        else:
            return "\n".join(lines) + "\n"


@contextmanager
def _loadable(binding: Path) -> Iterator[dict[str, str]]:
    """Yield an environment in which the bindings can be imported, as `tensorrt`."""
    names = sorted(set(_OWN.findall(binding.read_bytes().decode("latin-1"))))
    major = next(iter(re.findall(rb"libnvinfer\.so\.(\d+)", binding.read_bytes()))).decode()
    with tempfile.TemporaryDirectory(prefix="edgekd-libraries-") as name:
        place = Path(name)
        source = place / "nothing.c"
        source.write_text("".join(f"void *{symbol}(void) {{ return 0; }}\n" for symbol in names))
        for library in _LIBRARIES:
            file = f"lib{library}.so.{major}"
            command = ["gcc", "-shared", "-fPIC", str(source), "-o", str(place / file), f"-Wl,-soname,{file}"]
            subprocess.run(command, check=True, capture_output=True)
        shutil.copy(binding, place / "tensorrt.so")
        yield {**os.environ, "LD_LIBRARY_PATH": str(place), "PYTHONPATH": str(place)}


def _shown(module: Path) -> str:
    return str(module.relative_to(ROOT)) if module.is_relative_to(ROOT) else str(module)


if __name__ == "__main__":
    sys.exit(main())
