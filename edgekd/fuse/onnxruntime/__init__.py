"""What ONNX Runtime makes of a graph on a CPU, step by step."""
