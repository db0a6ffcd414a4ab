"""Where quantizers go, on a neutral operator graph: which tensors are stored as which integers."""
