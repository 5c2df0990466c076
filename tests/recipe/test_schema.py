"""The JSON Schema, against what the loader itself accepts."""

from __future__ import annotations

import json

from soracli.recipe.schema import recipe_schema
from tests.recipe.toy import Toy


def test_the_schema_says_what_the_class_says() -> None:
    schema = recipe_schema(Toy)
    assert schema["required"] == ["kind"]
    assert schema["additionalProperties"] is False
    assert schema["properties"]["kind"]["const"] == "dit.train"
    model = schema["$defs"]["Model"]
    assert model["properties"]["depth"] == {
        "default": 12,
        "description": "Number of blocks.",
        "maximum": 100,
        "minimum": 1,
        "title": "Depth",
        "type": "integer",
    }
    assert schema["$defs"]["Source"]["required"] == ["path"]
    json.dumps(schema, allow_nan=False)
