"""Runs on the device, and locally in a child process: standard library, numpy and a runtime."""
