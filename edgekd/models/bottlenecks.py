"""The stages of MobileNetV2 for small images (Sandler et al. 2018, table 2), for the network and its search space."""

from __future__ import annotations

# Strides of 1 in the first two rows, as images are small.
STAGES = ((16, 1, 1), (24, 2, 1), (32, 3, 2), (64, 4, 2), (96, 3, 1), (160, 3, 2), (320, 1, 1))
"""Channels, repeats, stride of each stage at width and depth 1."""
