"""Consecutive transformer layers with one set of weights (MiniViT; Zhang et al. 2022); experimental."""
