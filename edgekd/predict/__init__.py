"""Latency of a network nobody has built yet."""
