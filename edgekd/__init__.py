"""edgekd turns a trained PyTorch network into an engine that provably fits a device."""

__version__ = "0.1.0"
