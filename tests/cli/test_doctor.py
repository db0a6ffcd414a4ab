"""`edgekd doctor`: finds what is broken, gives a command for it, installs nothing; keeps the cache in order."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path

import pytest
from click.testing import CliRunner

from edgekd import cache, catalogue
from edgekd.cli import checkup
from edgekd.cli.checkup import Finding, Requirement
from edgekd.cli.commands import doctor
from edgekd.errors import TargetError
from edgekd.measure import machine
from tests.cli.test_commands import edgekd

LOCKED = {"numpy": "2.4.6", "torch": "2.13.0", "onnx": "1.23.2"}
NEEDS = [
    Requirement("numpy", "2.0", ""),
    Requirement("torch", "2.8", "compress"),
    Requirement("onnx", "1.18", "compress"),
    Requirement("openvino", "2025.0", "compress"),
    Requirement("openvino", "2025.0", "openvino"),
    Requirement("pytest", "8.3", "dev"),
]


def found(monkeypatch: pytest.MonkeyPatch, **installed: str) -> dict[str, Finding]:
    """Return the findings about packages, by subject, on a machine that has only `installed`."""
    monkeypatch.setattr(checkup, "_version", installed.get)
    return {finding.subject: finding for finding in checkup.packages(NEEDS, LOCKED)}


def test_here_everything_needed_works() -> None:
    answer = edgekd("doctor")
    assert answer.returncode == 0, answer.stdout + answer.stderr
    lines = answer.stdout.splitlines()
    assert lines[-1].startswith("fine")
    for subject in ("Python", "numpy", "torch", "target", "machine", "cache", "telemetry"):
        assert re.search(rf"^(fine|note) +{subject} ", answer.stdout, flags=re.M), subject


def test_json_holds_every_finding_and_a_fix_for_each_that_is_not_fine() -> None:
    findings = json.loads(edgekd("doctor", "--json").stdout)
    assert {"subject", "level", "text", "fix"} == findings[0].keys()
    assert all(bool(finding["fix"]) == (finding["level"] != "fine") for finding in findings)


def test_what_is_needed_is_read_from_the_metadata_and_the_locked_set() -> None:
    needs = checkup._requirements()
    assert needs is not None
    assert {r.package.lower() for r in needs if not r.extra} >= {"numpy", "pydantic", "pyyaml", "click"}
    assert {r.extra for r in needs} >= {"", "compress", "onnxruntime", "openvino", "demo"}
    assert len(needs) == len(metadata.requires("edgekd") or [])
    locked = checkup._known_good()
    assert len(locked) == len(catalogue.file("constraints.txt").read_text().splitlines())
    assert all(checkup._canonical(r.package) in locked for r in needs)


def test_it_can_say_what_is_missing_when_even_the_base_is() -> None:
    code = (
        "import sys; sys.argv = ['edgekd', 'doctor']\n"
        "for name in ('pydantic', 'yaml', 'numpy', 'rich', 'scipy'): sys.modules[name] = None\n"
        "from edgekd.cli import checkup, main\n"
        "real = checkup._version\n"
        "checkup._version = lambda name: None if name.lower() == 'pyyaml' else real(name)\n"
        "main.main()"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert answer.returncode == 2, answer.stderr
    assert re.search(r"^broken +pyyaml +is missing; .*\n +fix: pip install pyyaml==", answer.stdout, flags=re.M | re.I)
    assert answer.stdout.splitlines()[-1].lower().startswith("broken: pyyaml")


def test_a_bare_install_is_fine_and_told_of_the_extras(monkeypatch: pytest.MonkeyPatch) -> None:
    findings = found(monkeypatch, numpy="2.4.6")
    assert findings["numpy"].level == "fine"
    assert findings["compress"] == Finding(
        "compress", "note", "this extra is not installed", "pip install 'edgekd[compress]'"
    )
    assert findings.keys() == {"numpy", "compress", "openvino"}


def test_a_runtime_alone_does_not_ask_for_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    findings = found(monkeypatch, numpy="2.4.6", openvino="2026.4.1")
    assert {name: finding.level for name, finding in findings.items()} == {
        "numpy": "fine",
        "openvino": "fine",
        "compress": "note",
    }


def test_half_an_extra_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    findings = found(monkeypatch, numpy="2.4.6", torch="2.13.0+cpu", openvino="2026.4.1")
    assert findings["torch"].level == "fine"
    assert findings["onnx"].level == "broken"
    assert findings["onnx"].fix == "pip install onnx==1.23.2"
    assert "needs 1.18 or newer" in findings["onnx"].text


def test_old_is_broken_and_untested_is_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    findings = found(monkeypatch, numpy="1.26.4", torch="2.14.1", onnx="1.18", openvino="2025")
    assert findings["numpy"].level == "broken"
    assert findings["numpy"].fix == "pip install numpy==2.4.6"
    assert findings["torch"].level == "note"
    assert findings["torch"].fix == "pip install torch==2.13.0"
    assert findings["onnx"].level == "note"
    assert findings["openvino"].level == "fine"  # not in this locked set; 2025 is 2025.0


def test_something_broken_ends_with_two_and_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    installed = checkup._version
    monkeypatch.setattr(checkup, "_version", lambda package: None if package == "onnxscript" else installed(package))
    result = CliRunner().invoke(doctor.command, [], catch_exceptions=False, standalone_mode=False)
    assert result.return_value == 2
    lines = result.stdout.splitlines()
    assert lines[-1].startswith("broken: onnxscript;")
    assert any(line.strip().startswith("fix: pip install onnxscript==") for line in lines)


def test_a_machine_that_is_no_target_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> str:
        raise TargetError("no shipped target fits this machine")

    monkeypatch.setattr(machine, "host_target", none)
    assert checkup._target() == Finding("target", "broken", "no shipped target fits this machine", "edgekd targets")


def test_every_doubt_about_the_machine_has_its_own_remedy() -> None:
    quiet = {"ticks": 0, "stolen_ticks": 0, "throttled": 0, "clocks_mhz": [3000.0], "governor": [], "load": [0.1]}
    assert [finding.level for finding in checkup.judged([quiet, {**quiet, "ticks": 100}])] == ["fine"]
    bad = quiet | {"governor": ["powersave"], "load": [9.0], "affinity": [0, 1]}
    later = bad | {"ticks": 100, "stolen_ticks": 50, "throttled": 2, "clocks_mhz": [1000.0]}
    fixes = {finding.text.split()[1]: finding.fix for finding in checkup.judged([bad, later])}
    assert len(fixes) == len(set(fixes.values())) == 5
    assert any("cpupower" in fix for fix in fixes.values())


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache with an old teacher, a new store, a download, and a folder that is not edgekd's."""
    monkeypatch.setenv("EDGEKD_CACHE", str(tmp_path))
    now = time.time()
    for name, days, size in (
        ("teachers/" + "a" * 32, 10, 3000),
        ("stores/" + "b" * 64, 1, 500),
        ("datasets/fashion-mnist", 20, 70),
        ("teachers/my-own", 30, 9),
        ("photos/holiday", 30, 9),
    ):
        (tmp_path / name).mkdir(parents=True)
        file = tmp_path / name / "file"
        file.write_bytes(b"x" * size)
        for path in (file, file.parent):
            os.utime(path, (now - days * 86400,) * 2)
    return tmp_path


def test_the_cache_is_listed_with_size_and_age(kept: Path) -> None:
    rows = json.loads(edgekd("doctor", "--cache", "--json").stdout)
    assert [(row["kind"], row["size_bytes"], round(row["age_days"])) for row in rows] == [
        ("datasets", 70, 20),
        ("teachers", 3000, 10),
        ("stores", 500, 1),
    ]
    assert not any(row["deleted"] for row in rows)
    plain = edgekd("doctor", "--cache").stdout.splitlines()
    assert f"teachers/{'a' * 32}  0.0 MB, 10.0 days old" in plain[1]
    assert plain[-1] == f"{kept}: 3 entries, 0.0 MB"
    assert sum(entry.size_bytes for entry in cache.entries()) == 3570


def test_prune_deletes_what_edgekd_made_and_nothing_else(kept: Path) -> None:
    before = {path for path in kept.rglob("*") if path.is_file()}
    answer = edgekd("doctor", "--cache", "--prune", "--older-than", "5")
    assert answer.stdout.splitlines()[-1].endswith("2 entries, 0.0 MB; 1 deleted, 0.0 MB freed")
    gone = before - {path for path in kept.rglob("*") if path.is_file()}
    assert {path.parent.name for path in gone} == {"a" * 32}
    assert edgekd("doctor", "--cache", "--older-than", "0.5").returncode == 2
    assert edgekd("doctor", "--prune").returncode == 0
    left = {path.parent.relative_to(kept).as_posix() for path in kept.rglob("file")}
    assert left == {"datasets/fashion-mnist", "teachers/my-own", "photos/holiday"}


def test_no_cache_is_no_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEKD_CACHE", str(tmp_path / "none"))
    answer = edgekd("doctor", "--prune")
    assert answer.returncode == 0
    assert answer.stdout == f"{tmp_path / 'none'}: 0 entries, 0.0 MB; 0 deleted, 0.0 MB freed\n"
    assert checkup._disk().level in {"fine", "note"}
    assert not (tmp_path / "none").exists()
