"""Families of candidate networks, one file each."""
