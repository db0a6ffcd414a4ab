"""Initialisers of a student, one file each."""
