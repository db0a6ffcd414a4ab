"""Augmentations that replay from a seed, one file each."""
