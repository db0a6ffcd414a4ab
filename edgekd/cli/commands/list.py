"""List what can be named in a recipe: plug-ins of every kind with their help, and one's options.

Without a name: every kind. With KIND: that kind. With KIND and NAME: the options of one, as they stand in a recipe.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from edgekd.errors import UsageError, suggestion

if TYPE_CHECKING:
    from edgekd.cli.kinds import Kind
    from edgekd.schema import Schema


@click.command(help=__doc__, context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("kind", required=False)
@click.argument("name", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print JSON on standard output.")
def command(kind: str | None, name: str | None, as_json: bool) -> int:
    """Run `edgekd list`; returns the exit code."""
    from edgekd.cli.kinds import kinds

    plugins = kinds()
    if name is not None and kind in plugins:
        _show_options(plugins[kind], name, as_json)
        return 0
    listed = {known: _helps(found) for known, found in plugins.items()} | _files()
    if kind is not None:
        if kind not in listed:
            raise UsageError(f"unknown kind '{kind}'; {suggestion(kind, listed)}")
        if name is not None:
            raise UsageError(f"{kind} have no options; {_INSTEAD[kind]}")
        listed = {kind: listed[kind]}
    if as_json:
        click.echo(json.dumps(listed, indent=2))
        return 0
    width = max(len(entry) for names in listed.values() for entry in names)
    for known, names in listed.items():
        click.echo(f"{known}:")
        for entry, text in names.items():
            click.echo(f"  {entry:{width}}  {text}")
    click.echo("the options of one: edgekd list KIND NAME")
    return 0


_INSTEAD = {
    "commands": "run: edgekd COMMAND --help",
    "recipes": "run: edgekd compress --recipe NAME --dry-run",
    "targets": "run: edgekd targets NAME",
}


def _helps(kind: Kind) -> dict[str, str]:
    return {name: kind.listing.help(name) for name in kind.listing.names()}


def _files() -> dict[str, dict[str, str]]:
    """Return what is one file as well, but no class: commands, recipes and targets."""
    from edgekd import catalogue
    from edgekd.plugins import PluginFolder
    from edgekd.schema import read_yaml

    commands = PluginFolder("edgekd.cli.commands", object)
    found = {"commands": {name: commands.help(name) for name in commands.names()}}
    shipped: tuple[catalogue.Kind, ...] = ("recipes", "targets")
    for kind in shipped:
        files = {name: read_yaml(catalogue.find(kind, name))[0] for name in catalogue.names(kind)}
        found[kind] = {
            name: str(data.get("title") or f"another name for {data.get('same_as')}") for name, data in files.items()
        }
    return found


def _show_options(kind: Kind, name: str, as_json: bool) -> None:
    options = _options(kind.options(name))
    if as_json:
        click.echo(json.dumps({"name": name, "help": kind.listing.help(name), "options": options}, indent=2))
        return
    click.echo(f"{name}: {kind.listing.help(name)}")
    for option in options:
        default = "required" if option["required"] else f"default {json.dumps(option['default'])}"
        click.echo(f"  {option['name']} ({option['type']}, {default}): {option['description']}")
    count = len(options)
    click.echo(f"{count} option{'' if count == 1 else 's'} of {kind.name} {name}")


def _options(config: type[Schema]) -> list[dict[str, Any]]:
    """Return name, type, default and description of every option."""
    schema = config.model_json_schema()
    return [
        {
            "name": name,
            "type": _type_of(found),
            "required": name in schema.get("required", ()),
            "default": found.get("default"),
            "description": found.get("description", ""),
        }
        for name, found in schema.get("properties", {}).items()
    ]


_BOUNDS = {"minimum": ">=", "exclusiveMinimum": ">", "maximum": "<=", "exclusiveMaximum": "<"}


def _type_of(found: dict[str, Any]) -> str:
    """Return a type of JSON schema in words, with its bounds."""
    if "anyOf" in found:
        return " or ".join(_type_of(part) for part in found["anyOf"])
    if "enum" in found or "const" in found:
        return " or ".join(json.dumps(value) for value in found.get("enum", [found.get("const")]))
    if "prefixItems" in found:
        return f"[{', '.join(_type_of(part) for part in found['prefixItems'])}]"
    if found.get("type") == "array":
        return f"list of {_type_of(found.get('items', {}))}"
    bounds = [f" {sign} {found[key]:g}" for key, sign in _BOUNDS.items() if key in found]
    return str(found.get("type", "object")).replace("object", "mapping") + "".join(bounds)
