"""Meters: one file each."""
