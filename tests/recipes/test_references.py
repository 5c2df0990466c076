"""Every reference curve that comes with sora is one, and of the recipe beside it."""

import pytest

from soracli.pipelines.recipes import RECIPES
from soracli.pipelines.reference_curves import read_reference
from soracli.recipe.find import find_recipe, find_reference, list_references
from soracli.recipe.load import recipe_kind


@pytest.mark.parametrize("name", list_references())
def test_a_reference_is_of_its_recipe(name: str) -> None:
    reference = read_reference(find_reference(name))
    assert reference.kind == recipe_kind(find_recipe(name), RECIPES)
    assert reference.final and reference.hardware and reference.steps == reference.recipe["loop"]["steps"]
