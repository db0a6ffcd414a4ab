"""Runtimes edgekd builds engines for, one file each."""
