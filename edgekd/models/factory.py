"""A user's function named in a recipe as `package.module:function`."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from edgekd.errors import EdgekdError, UsageError, suggestion


def call(reference: str, options: Mapping[str, Any]) -> object:
    """Return what the function at `reference` gives for `options` as keyword arguments.

    Raises UsageError when the module or the function does not exist, or when it raises.
    """
    module_name, colon, function_name = reference.partition(":")
    if not colon or not module_name or not function_name:
        raise UsageError(f"factory '{reference}': expected package.module:function, for example my_networks:small_cnn")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise UsageError(
            f"factory '{reference}': module '{error.name}' cannot be found; install it or put its folder on PYTHONPATH"
        ) from error
    except Exception as error:
        raise UsageError(f"factory '{reference}': importing '{module_name}' failed: {_said(error)}") from error
    function = getattr(module, function_name, None)
    if not callable(function):
        known = (name for name, value in vars(module).items() if callable(value) and not name.startswith("_"))
        raise UsageError(
            f"factory '{reference}': '{module_name}' has no function '{function_name}'; "
            f"{suggestion(function_name, known)}"
        )
    try:
        return function(**options)
    except EdgekdError:
        raise
    except Exception as error:
        raise UsageError(f"factory '{reference}' failed with options {dict(options)}: {_said(error)}") from error


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
