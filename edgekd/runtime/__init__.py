"""What an app imports: numpy and one engine, nothing else."""

from .load import BundleError, Engine, load

__all__ = ["BundleError", "Engine", "load"]
