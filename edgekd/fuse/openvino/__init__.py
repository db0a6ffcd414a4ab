"""What OpenVINO's CPU plugin makes of an ONNX graph, found by reading the graphs it executes."""
