"""Choosing the network to train."""
