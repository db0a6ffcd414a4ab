"""Range observers, one file each."""
