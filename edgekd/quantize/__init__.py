"""Quantization that the engine computes exactly as it was trained."""
