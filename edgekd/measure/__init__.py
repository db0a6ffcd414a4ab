"""Measuring engines honestly."""
