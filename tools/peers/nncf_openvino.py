"""NNCF's post-training quantization of an OpenVINO model: python nncf_openvino.py MODEL.onnx DATA.npz FOLDER."""

from __future__ import annotations

import sys
from pathlib import Path

import nncf
import numpy as np
import openvino
from nncf.quantization.advanced_parameters import AdvancedQuantizationParameters, OverflowFix


def main(model: str, data: str, folder: str) -> None:
    """Write the model in integers, with weights of half the range as processors without dot products need them."""
    samples = np.load(data)["inputs"]
    quantized = nncf.quantize(
        openvino.convert_model(model),
        nncf.Dataset([sample[None] for sample in samples]),
        subset_size=len(samples),
        advanced_parameters=AdvancedQuantizationParameters(overflow_fix=OverflowFix.ENABLE),
    )
    openvino.save_model(quantized, Path(folder) / "model.xml", compress_to_fp16=False)


if __name__ == "__main__":
    main(*sys.argv[1:])
