"""Benchmarks and maintainers' jobs, one script each."""
