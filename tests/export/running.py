"""The backends whose engines this machine can run."""

from edgekd.export.backend import BACKENDS

RUNNING = [name for name in BACKENDS.names() if BACKENDS.get(name)().runs_here()]
