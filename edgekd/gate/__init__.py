"""Verdicts: met, missed, not trustworthy."""
