"""A user's function named in a recipe as `package.module:function`."""

from __future__ import annotations

import importlib
import reprlib
from collections.abc import Mapping
from typing import Any

from edgekd.errors import EdgekdError, UsageError, suggestion


def call(reference: str, options: Mapping[str, Any]) -> object:
    """Return what the function at `reference` gives for `options` as keyword arguments.

    Raises UsageError when the module or the function does not exist, or when it raises.
    """
    module_name, colon, function_name = reference.partition(":")
    if not colon or not module_name or not function_name:
        raise UsageError(
            f"factory '{reference}': expected package.module:function, for example my_networks:small_cnn", reference
        )
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise UsageError(
            f"factory '{reference}': module '{error.name}' cannot be found; install it, run the command "
            "in its folder, or put its folder on PYTHONPATH",
            reference,
        ) from error
    except (Exception, SystemExit) as error:
        message = f"factory '{reference}': importing '{module_name}' failed: {_said(error)}"
        raise UsageError(message, reference) from error
    function = getattr(module, function_name, None)
    if not callable(function):
        known = (name for name, value in vars(module).items() if callable(value) and not name.startswith("_"))
        raise UsageError(
            f"factory '{reference}': '{module_name}' has no function '{function_name}'; "
            f"{suggestion(function_name, known)}",
            reference,
        )
    try:
        return function(**options)
    except EdgekdError:
        raise
    except (Exception, SystemExit) as error:
        message = f"factory '{reference}' failed with options {reprlib.repr(dict(options))}: {_said(error)}"
        raise UsageError(message, reference) from error


def _said(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:500]}"
