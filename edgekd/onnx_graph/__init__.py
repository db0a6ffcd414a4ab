"""ONNX files as graphs whose shapes are all known, simplified as every runtime does, also in integers."""
