"""Every shipped target loads, names things that exist and cites its numbers."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgekd import catalogue, target
from edgekd.errors import UsageError
from edgekd.export.backend import BACKENDS
from edgekd.export.on_target import FOREIGN
from edgekd.placement.scheme import SCHEMES
from edgekd.quantize.emission import OPSET

EXACT = [n for n in catalogue.names("targets") if "same_as" not in catalogue.find("targets", n).read_text()]


@pytest.mark.parametrize("name", EXACT)
def test_target_file_is_sound(name: str) -> None:
    loaded = target.load(name)
    assert loaded.name == name
    assert set(loaded.runtimes) <= {*BACKENDS.names(), *FOREIGN}
    assert set(loaded.schemes()) <= set(SCHEMES)
    assert set(loaded.channel_step) <= set(loaded.precisions)
    assert all(1 <= step.value <= 64 for step in loaded.channel_step.values())


def test_family_names_resolve_to_the_probed_machine() -> None:
    assert target.load("cpu", host="x86-avx2").name == "x86-avx2"
    assert target.load("host", host="x86-vnni").name == "x86-vnni"
    with pytest.raises(UsageError, match="did you mean 'x86-avx2'"):
        target.load("x86-avx")


def test_a_machine_matches_the_target_with_its_instruction_sets() -> None:
    assert target.matching("x86_64", frozenset({"avx2", "fma"})) == "x86-avx2"
    assert target.matching("x86_64", frozenset({"avx2", "fma", "vnni", "avx512_vnni"})) == "x86-vnni"
    assert target.matching("x86_64", frozenset({"sse2"})) is None
    assert target.matching("riscv64", frozenset({"avx2", "fma"})) is None


def test_a_number_without_a_source_is_refused(tmp_path: Path) -> None:
    own = tmp_path / "mine.yaml"
    text = catalogue.find("targets", "x86-avx2").read_text()
    own.write_text(text.replace("value: 8, source", "value: 8, sauce"))
    with pytest.raises(UsageError, match="sauce"):
        target.load(str(own))


def test_circles_of_aliases_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(f"same_as: {tmp_path / 'b.yaml'}\n")
    (tmp_path / "b.yaml").write_text(f"same_as: {tmp_path / 'a.yaml'}\n")
    with pytest.raises(UsageError, match="circle"):
        target.load(str(tmp_path / "a.yaml"))


def test_a_number_without_evidence_is_refused(tmp_path: Path) -> None:
    own = tmp_path / "mine.yaml"
    own.write_text(catalogue.find("targets", "jetson-orin-nano").read_text().replace(", evidence: derived", "", 1))
    with pytest.raises(UsageError, match=r"board\.dense_tflops\.evidence' is missing"):
        target.load(str(own))


@pytest.mark.parametrize("name", EXACT)
def test_what_nobody_measured_is_unverified_and_nothing_else_is_measured(name: str) -> None:
    loaded = target.load(name)
    facts = [loaded.memory_gb, loaded.compute_capability, loaded.dla, *(v for _, v in loaded.board or ())]
    assert not any(fact.evidence == "measured" for fact in facts if fact is not None)
    if loaded.needs_gpu or loaded.machine == "aarch64":
        assert not loaded.verified
    assert loaded.software is None or loaded.software.opset_most >= OPSET or loaded.predict_only


@pytest.mark.parametrize("name", ["jetson-nano", "jetson-tx2"])
def test_boards_without_integer_dot_products_have_no_integers(name: str) -> None:
    assert target.load(name).predict_only
    assert target.load(name).schemes() == ()


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("NVIDIA Jetson AGX Orin Developer Kit", "jetson-agx-orin"),
        ("NVIDIA Jetson Orin Nano Developer Kit", "jetson-orin-nano"),
        ("NVIDIA Jetson Xavier NX Developer Kit", "jetson-xavier-nx"),
        ("Raspberry Pi 5 Model B Rev 1.0", "raspberry-pi-5"),
        ("Orange Pi 5", None),
    ],
)
def test_a_board_is_known_by_what_it_calls_itself(model: str, expected: str | None) -> None:
    assert target.matching("aarch64", frozenset({"asimd", "asimddp"}), model) == expected


@pytest.mark.parametrize(("tensorrt", "expected"), [("10.3.0", ""), ("11.4.0", "-jetpack7"), ("", ""), ("12.0", "")])
def test_a_board_is_the_target_of_its_tensorrt(tensorrt: str, expected: str) -> None:
    found = target.matching("aarch64", frozenset({"asimd"}), "NVIDIA Jetson AGX Orin Developer Kit", tensorrt)
    assert found == f"jetson-agx-orin{expected}"


def test_family_names_have_a_board_to_stand_for() -> None:
    assert target.load("jetson").name == "jetson-orin-nano"
    assert target.load("raspberry-pi").name == "raspberry-pi-5"


def test_tensorrt_floats_are_in_half_precision() -> None:
    assert target.load("jetson").float_schemes() == ("fp16",)
    assert target.load("x86-avx2").float_schemes() == ("fp32",)


def test_a_gpu_is_known_by_its_compute_capability_and_shows_in_no_processor() -> None:
    ada, isa = target.load("rtx-ada"), frozenset({"avx2", "fma"})
    assert ada.fits("x86_64", isa, gpu="8.9")
    assert not ada.fits("x86_64", isa, gpu="8.6")
    assert not ada.fits("x86_64", isa)
    assert not ada.fits("aarch64", isa, gpu="8.9")
    assert target.load("nvidia-gpu").fits("x86_64", isa, gpu="9.0")
    assert target.matching("x86_64", isa) == "x86-avx2"


def test_a_family_name_may_stand_for_any_of_the_family() -> None:
    assert target.family("jetson") >= {"jetson-orin-nano", "jetson-agx-orin", "jetson-thor"}
    assert target.family("raspberry-pi") == {"raspberry-pi-4", "raspberry-pi-5"}
    assert target.family("jetson-orin-nano") == target.family("host") == target.family("mine.yaml") == frozenset()


def test_the_users_own_targets_are_found_by_name_before_the_shipped_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEKD_TARGETS", str(tmp_path))
    text = catalogue.find("targets", "raspberry-pi-4").read_text()
    (tmp_path / "lab-board.yaml").write_text(text.replace("name: raspberry-pi-4", "name: lab-board"))
    assert target.load("lab-board").name == "lab-board"
    assert "lab-board" in catalogue.names("targets")
    assert target.matching("aarch64", frozenset({"asimd"}), "Raspberry Pi 4 Model B") == "lab-board"
    (tmp_path / "x86-avx2.yaml").write_text("name: x86-avx2\n")
    with pytest.raises(UsageError, match=str(tmp_path / "x86-avx2.yaml")):
        target.load("x86-avx2")


@pytest.mark.parametrize("name", EXACT)
def test_zeros_pay_where_the_gpu_is_of_ampere_or_later(name: str) -> None:
    loaded = target.load(name)
    if loaded.sparsity is None:
        assert loaded.needs_gpu
        assert loaded.compute_capability is None
    else:
        capability = loaded.compute_capability.value if loaded.compute_capability else 0.0
        assert loaded.sparsity.pays == (loaded.needs_gpu and capability >= 8)
