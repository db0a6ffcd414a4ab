from __future__ import annotations

from typing import Any

import pytest

from edgekd import target
from edgekd.connection.fit import refuse_unfit
from edgekd.errors import TargetError

PI: dict[str, Any] = {"machine": "aarch64", "gpu": None, "versions": {"onnxruntime": "1.20.1", "numpy": "2.0"}}
ORIN: dict[str, Any] = {
    "machine": "aarch64",
    "gpu": {"name": "Orin", "compute_capability": "8.7", "driver": "12.6"},
    "versions": {"tensorrt": "10.3.0"},
}


def test_what_fits_is_not_refused() -> None:
    refuse_unfit(target.load("raspberry-pi"), PI, "the device pi", "raspberry-pi-5")
    refuse_unfit(target.load("jetson"), ORIN, "the device orin", "jetson-orin-nano")


@pytest.mark.parametrize(
    ("name", "probed", "said"),
    [
        ("x86-avx2", PI, r"it is aarch64, and x86-avx2 is x86_64; it is raspberry-pi-5: give --target raspberry-pi-5"),
        (
            "raspberry-pi-4",
            {**PI, "versions": {}},
            "it lacks onnxruntime, which raspberry-pi-4 names",
        ),
        ("jetson", PI, "it has no GPU of NVIDIA's, or no driver for it, and jetson-orin-nano needs one"),
        ("jetson", {**ORIN, "versions": {}}, "it lacks tensorrt, which jetson-orin-nano names as runtime"),
        (
            "jetson",
            {**ORIN, "versions": {"tensorrt": "8.5.2"}},
            r"it has TensorRT 8\.5\.2, and jetson-orin-nano is",
        ),
        ("jetson-thor-jetpack72", ORIN, r"it has TensorRT 10\.3\.0, and jetson-thor-jetpack72 is about TensorRT 11\.4"),
        ("rtx-ada", {**ORIN, "machine": "x86_64"}, "names the runtime tensorrt-rtx, whose engines cannot be run"),
    ],
)
def test_what_does_not_fit_is_told_in_a_sentence(name: str, probed: dict[str, Any], said: str) -> None:
    with pytest.raises(TargetError, match=said) as caught:
        refuse_unfit(target.load(name), probed, "it", "raspberry-pi-5")
    assert "\n" not in str(caught.value)
