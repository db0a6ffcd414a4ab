"""Structured pruning of transformer encoders by trained masks (CoFi; Xia et al. 2022); experimental."""
