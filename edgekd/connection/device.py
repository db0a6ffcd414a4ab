"""A device somewhere else: how to reach it, as one address or as an entry of the user's devices file."""

from __future__ import annotations

import os
import re
from pathlib import Path

from edgekd import catalogue
from edgekd.errors import UsageError, suggestion
from edgekd.schema import Field, Schema, from_mapping, read_yaml

_ADDRESS = re.compile(r"(?:[\w.-]+@)?[A-Za-z0-9][\w.-]*(?::\d{1,5})?")


class Device(Schema):
    """Where a device is; keys, jump hosts and known hosts stand in the user's own ssh configuration."""

    address: str = Field(pattern=rf"^{_ADDRESS.pattern}$", description="user@host, host, or either with :port")
    python: str = Field(default="python3", min_length=1, description="the interpreter that has numpy and the runtimes")
    ssh_config: str | None = Field(default=None, description="a configuration file for ssh instead of the user's own")


def named(text: str) -> Device:
    """Return the device of a name in the devices file, else of an address; raises UsageError for neither."""
    file = place()
    entries, lines = read_yaml(file) if file.is_file() else ({}, {})
    if text in entries:
        return from_mapping(Device, entries[text], str(file), lines, text)
    if not _ADDRESS.fullmatch(text):
        known = f"; {file} knows {suggestion(text, entries)}" if entries else ""
        raise UsageError(f"'{text}' is no device: give user@host, or a name in {file}{known}", text)
    return Device(address=text)


def place() -> Path:
    """Return the devices file: `EDGEKD_DEVICES`, else edgekd/devices.yaml in the user's configuration."""
    own = os.environ.get("EDGEKD_DEVICES")
    if own:
        return Path(own)
    return catalogue.configuration() / "devices.yaml"
