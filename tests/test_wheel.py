"""The built wheel, in environments that hold what it declares and nothing else, does what each extra promises."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.declared import closure, lay_out

ROOT = Path(__file__).resolve().parent.parent
BARE_MODULES = (
    "errors catalogue schema plugins figure target budget artifact profile recipe report bundle stage runtime device"
    " measure.series measure.machine measure.statistics measure.host gate.verdict gate.session gate.compare gate.junit"
    " gate.markdown predict.predictor pipeline.request cli.main"
)


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel built from this tree."""
    folder = tmp_path_factory.mktemp("dist")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True)
    return next(folder.glob("*.whl"))


def environment(folder: Path, wheel: Path, *extras: str) -> Path:
    """Create an environment with the wheel and what it declares for these extras; return its Python."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    python = folder / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "--no-index", "--no-deps", str(wheel)], check=True, capture_output=True)
    (site,) = folder.glob("lib/python*/site-packages")
    lay_out(closure(wheel, *extras), site)
    return python


def run(python: Path, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run that environment's Python, with nothing of this one in sight."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "VIRTUAL"))}
    return subprocess.run([str(python), *arguments], capture_output=True, text=True, check=False, cwd=cwd, env=clean)


@pytest.fixture(scope="session")
def bare(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return environment(tmp_path_factory.mktemp("bare") / "env", wheel)


def test_bare_install_imports_every_light_module_and_answers_help(bare: Path, tmp_path: Path) -> None:
    imports = "; ".join(f"import edgekd.{module}" for module in BARE_MODULES.split())
    heavy = "assert not {'torch', 'onnx', 'onnxruntime', 'openvino'} & set(sys.modules)"
    answer = run(bare, "-c", f"import sys; {imports}; {heavy}", cwd=tmp_path)
    assert answer.returncode == 0, answer.stderr
    assert run(bare, "-m", "edgekd.cli.main", "--help", cwd=tmp_path).returncode == 0


def test_what_is_here_but_not_declared_is_not_there(bare: Path, tmp_path: Path) -> None:
    code = "from importlib.util import find_spec as f; print(*map(bool, map(f, ['numpy', 'torch', 'pytest', 'pip'])))"
    assert run(bare, "-c", code, cwd=tmp_path).stdout.split() == ["True", "False", "False", "False"]


def test_bare_install_says_what_compress_needs(bare: Path, tmp_path: Path) -> None:
    answer = run(bare, "-m", "edgekd.cli.main", "compress", cwd=tmp_path)
    assert answer.returncode == 2
    assert "pip install 'edgekd[compress]'" in answer.stderr
    assert "Traceback" not in answer.stderr


def test_wheel_ships_the_anchor(bare: Path, tmp_path: Path) -> None:
    answer = run(bare, "-c", "from edgekd.measure import anchor as a; print(a.FILE.stat().st_size)", cwd=tmp_path)
    assert answer.stdout.strip() == str((ROOT / "edgekd" / "measure" / "anchor.onnx").stat().st_size), answer.stderr


def test_wheel_ships_the_data_folders(bare: Path, tmp_path: Path) -> None:
    names = "c.names('targets'), c.names('recipes'), c.folder('profiles').is_dir()"
    code = f"from edgekd import catalogue as c; print({names})"
    answer = run(bare, "-c", code, cwd=tmp_path)
    assert "x86-avx2" in answer.stdout
    assert "mnist5k" in answer.stdout
    assert "True" in answer.stdout


@pytest.mark.parametrize(
    ("arguments", "last"),
    [
        ("doctor", "fine"),
        ("targets x86-avx2", "unverified"),
        ("list", "the options of one"),
        ("init mine.yaml --model mine:network", "mine.yaml is written"),
        ("verify .", "is not a bundle"),
        ("gate none.onnx --max-size-mb 1", "there is no file or folder none.onnx"),
        ("profile none.onnx --target x86-avx3", "did you mean 'x86-avx2'"),
        ("list losses dist", "pip install 'edgekd[compress]'"),
    ],
)
def test_small_commands_work_in_a_bare_install(bare: Path, tmp_path: Path, arguments: str, last: str) -> None:
    answer = run(bare, "-m", "edgekd.cli.main", *arguments.split(), cwd=tmp_path)
    assert last in (answer.stdout + answer.stderr).splitlines()[-1]
    assert answer.returncode == (2 if answer.stderr else 0)


@pytest.fixture(scope="session")
def compressed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of a smoke run in an environment with the extra `compress` alone (and `demo` for its data)."""
    folder = tmp_path_factory.mktemp("compress")
    python = environment(folder / "env", wheel, "compress", "demo")
    # Trained as long as any smoke run: a network that has hardly learned is undecided, and its engines differ from it.
    few = ("--set", "stages.measure.processes=3")
    answer = run(python, "-m", "edgekd.cli.main", "compress", "--smoke", "--run-folder", "run", *few, cwd=folder)
    assert answer.returncode in {0, 3, 4, 5}, answer.stderr  # a verdict, whatever the smoke network is worth
    return folder / "run"


def test_compress_extra_runs_the_whole_chain(compressed: Path) -> None:
    report = json.loads((compressed / "run.json").read_text())
    assert next(iter(report)) == "verdict"
    assert report["verdict"]["status"] in {"met", "missed", "not trustworthy"}
    assert (compressed / "report.md").read_text().startswith("# ")


def test_onnxruntime_extra_runs_a_bundle_without_torch(compressed: Path, wheel: Path, tmp_path: Path) -> None:
    python = environment(tmp_path / "env", wheel, "onnxruntime")
    code = (
        "import sys, numpy, edgekd.runtime as r\n"
        f"engine = r.load({str(compressed / 'bundle')!r}, runtime='onnxruntime')\n"
        "print(engine.predict(numpy.zeros((1, 1, 28, 28), 'float32')).shape)\n"
        "assert not {'torch', 'pydantic', 'openvino'} & set(sys.modules)\n"
    )
    answer = run(python, "-c", code, cwd=tmp_path)
    assert answer.returncode == 0, answer.stderr
    assert "(1, 10)" in answer.stdout
    limits = ["--max-latency-ratio", "9", "--max-memory-mb", "500", "--time-limit", "300"]  # the first look decides
    gate = ["gate", str(compressed / "bundle"), "--runtime", "onnxruntime", "--baseline", str(compressed / "bundle")]
    answer = run(python, "-m", "edgekd.cli.main", *gate, *limits, cwd=tmp_path)
    assert answer.returncode in {0, 5}, answer.stderr  # 5 where other work disturbed it
    assert "peak memory is" in answer.stdout.splitlines()[-1]


def test_bundle_in_a_bare_install_names_the_missing_runtime(compressed: Path, bare: Path, tmp_path: Path) -> None:
    code = f"import edgekd.runtime as r; r.load({str(compressed / 'bundle')!r}, runtime='onnxruntime')"
    answer = run(bare, "-c", code, cwd=tmp_path)
    assert answer.returncode != 0
    assert "onnxruntime" in answer.stderr.splitlines()[-1]
    assert "pip install" in answer.stderr.splitlines()[-1]
