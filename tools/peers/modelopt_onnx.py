"""ModelOpt's post-training quantization of an ONNX file: python modelopt_onnx.py MODEL DATA.npz OUTPUT [METHOD]."""

from __future__ import annotations

import sys

import numpy as np
import onnx
from modelopt.onnx.quantization import quantize


def main(model: str, data: str, output: str, method: str = "max") -> None:
    """Write the model in integers; METHOD is how it calibrates, max or entropy."""
    name = onnx.load(model).graph.input[0].name
    samples = np.load(data)["inputs"]
    quantize(
        model,
        quantize_mode="int8",
        calibration_data={name: samples},
        calibration_method=method,
        calibration_eps=["cpu"],
        output_path=output,
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
