from __future__ import annotations

import json

from edgekd.device.probe import identity, isa, probe, state, versions


def test_vnni_is_named_for_either_form_of_it() -> None:
    assert isa(["fpu", "avx2", "avx_vnni", "fma"]) == ["avx2", "avx_vnni", "fma", "vnni"]
    assert "vnni" in isa(["avx512_vnni"])
    assert "vnni" not in isa(["avx2", "fma", "avx512f"])


def test_arm_features_are_kept_and_other_flags_dropped() -> None:
    assert isa(["fp", "asimd", "asimddp", "crc32", "smep", "i8mm"]) == ["asimd", "asimddp", "i8mm"]


def test_probe_is_plain_json_with_state() -> None:
    found = json.loads(json.dumps(probe()))
    assert found["state"]["affinity"]
    assert set(identity()) < set(found)


def test_steal_is_counted_within_all_ticks() -> None:
    first, second = state(), state()
    assert 0 <= first["stolen_ticks"] <= first["ticks"] <= second["ticks"]


def test_versions_name_what_is_installed() -> None:
    assert {"numpy", "onnxruntime", "openvino"} <= set(versions())
