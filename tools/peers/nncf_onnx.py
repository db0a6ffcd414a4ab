"""NNCF's post-training quantization of an ONNX file: python nncf_onnx.py MODEL DATA.npz OUTPUT."""

from __future__ import annotations

import sys

import nncf
import numpy as np
import onnx
from nncf.quantization.advanced_parameters import AdvancedQuantizationParameters, OverflowFix


def main(model: str, data: str, output: str) -> None:
    """Write the model in integers, with weights of half the range as processors without dot products need them."""
    network = onnx.load(model)
    name = network.graph.input[0].name
    samples = np.load(data)["inputs"]
    dataset = nncf.Dataset([{name: sample[None]} for sample in samples])
    quantized = nncf.quantize(
        network,
        dataset,
        subset_size=len(samples),
        advanced_parameters=AdvancedQuantizationParameters(overflow_fix=OverflowFix.ENABLE),
    )
    onnx.save(quantized, output)


if __name__ == "__main__":
    main(*sys.argv[1:])
