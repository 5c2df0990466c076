"""JSON Schema of a recipe, for editors that complete and check TOML."""

from __future__ import annotations

from typing import Any

from soracli.recipe.section import Section


def recipe_schema(recipe_class: type[Section]) -> dict[str, Any]:
    """The schema of a recipe class, every key with its description, default and range.

    ``kind`` is required, since a file without it cannot be told from that of another command.
    """
    schema = recipe_class.model_json_schema()
    required = ["kind", *(name for name in schema.get("required", []) if name != "kind")]
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "required": required}
