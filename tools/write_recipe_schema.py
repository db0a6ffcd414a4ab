"""Write docs/recipe-1.schema.json from the models a recipe is read with: python -m tools.write_recipe_schema.

Names of plug-ins are plain strings in it, so that adding a plug-in stays one file.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic.json_schema import models_json_schema

from edgekd.pipeline.stages import STAGES
from edgekd.recipe import Recipe
from edgekd.schema import Schema, write_text

FILE = Path(__file__).resolve().parent.parent / "docs" / "recipe-1.schema.json"
_DIALECT = "https://json-schema.org/draft/2020-12/schema"


def schema() -> dict[str, Any]:
    """Return the JSON schema of a recipe, options of the stages included."""
    kinds: list[type[Schema]] = [Recipe, *(kind.Config for kind in STAGES)]
    places, found = models_json_schema([(kind, "validation") for kind in kinds])
    definitions = found["$defs"]
    recipe = definitions["Recipe"]["properties"]
    recipe["$schema"] = {"type": "string", "description": "where this schema is; for editors, not read by edgekd"}
    recipe["stages"] = {
        "type": "object",
        "description": recipe["stages"]["description"],
        "properties": {kind.name: places[kind.Config, "validation"] for kind in STAGES},
        "additionalProperties": False,
    }
    for origin in ("ModelSpec", "DataSpec"):
        definitions[origin]["oneOf"] = [
            {"required": [key], "properties": {key: {"type": "string"}}} for key in ("name", "factory")
        ]
    return {
        "$schema": _DIALECT,
        "title": "edgekd recipe, version 1",
        "$ref": "#/$defs/Recipe",
        "$defs": definitions,
    }


def text() -> str:
    """Return the file's content."""
    return json.dumps(schema(), indent=1) + "\n"


if __name__ == "__main__":
    write_text(text(), FILE)
    print(FILE)
