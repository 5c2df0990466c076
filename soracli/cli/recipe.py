"""``sora recipe``: list, show, check and copy recipes, and their schema."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from soracli.cli.console import print_json, print_result, print_table
from soracli.cli.options import JsonOption, OverwriteOption, SetOption
from soracli.core.errors import RecipeError, UsageError, nearest

if TYPE_CHECKING:
    from soracli.recipe.load import Loaded
    from soracli.recipe.section import Section

_NAME_HELP = "A name (nano/vae), a TOML file, or a run folder."


def register(app: typer.Typer) -> None:
    """Add the group to the application."""
    group = typer.Typer(help="List, show, check and copy recipes.", rich_markup_mode=None)
    for name, command in (("list", list_), ("show", show), ("check", check), ("schema", schema), ("copy", copy)):
        group.command(name)(command)
    app.add_typer(group, name="recipe")


def list_(json: JsonOption = False) -> None:
    """The recipes that come with sora."""
    from soracli.recipe.find import find_recipe, list_recipes
    from soracli.recipe.load import recipe_kind

    kinds = _kinds()
    rows = []
    for name in list_recipes():
        path = find_recipe(name)
        rows.append((name, recipe_kind(path, kinds), _title(path)))
    if json:
        print_json([{"name": name, "kind": kind, "title": title} for name, kind, title in rows])
    else:
        print_table(("name", "kind", "title"), rows)


def show(
    recipe: Annotated[str, typer.Argument(metavar="RECIPE", help=_NAME_HELP)],
    set_: SetOption = None,
    json: JsonOption = False,
) -> None:
    """A whole recipe with every default, and where each value comes from."""
    from soracli.recipe.write import recipe_text

    loaded = _load(recipe, set_ or [])
    if json:
        print_json({"recipe": loaded.recipe.model_dump(mode="json"), "origins": dict(loaded.origins)})
    else:
        print_result(recipe_text(loaded.recipe, loaded.origins).rstrip("\n"))


def check(
    recipes: Annotated[
        list[str] | None, typer.Argument(metavar="RECIPE", help=_NAME_HELP, show_default="all of sora's own")
    ] = None,
    set_: SetOption = None,
) -> None:
    """Check recipes; every problem of every one is told."""
    from soracli.recipe.find import list_recipes

    problems: list[str] = []
    for name in recipes or list_recipes():
        try:
            loaded = _load(name, set_ or [])
        except RecipeError as error:
            problems += error.problems
        except UsageError as error:
            problems.append(str(error))
        else:
            print_result(f"{loaded.source}: ok")
    if problems:
        raise RecipeError(problems)


def schema(
    kind: Annotated[str, typer.Argument(metavar="KIND", help="A kind of recipe, such as vae.train.")],
) -> None:
    """The JSON Schema of a kind of recipe, for editors."""
    from soracli.recipe.schema import recipe_schema

    kinds = _kinds()
    if kind not in kinds:
        near = nearest(kind, kinds)
        end = f"did you mean '{near}'?" if near else f"there are {', '.join(kinds)}"
        raise UsageError(f"no kind '{kind}'; {end}")
    print_json(recipe_schema(kinds[kind]))


def copy(
    recipe: Annotated[str, typer.Argument(metavar="RECIPE", help=_NAME_HELP)],
    out: Annotated[Path | None, typer.Argument(metavar="FILE", show_default="the same name, here")] = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Copy a recipe to a file of your own, with its comments."""
    from soracli.recipe.find import find_recipe

    source = find_recipe(recipe)
    target = out or Path(source.name)
    if target.is_dir():
        target /= source.name
    if target.exists() and target.samefile(source):
        raise UsageError(f"{target} is that recipe itself; give the copy another name")
    if target.exists() and not overwrite:
        raise UsageError(f"{target} exists; give another name, or --overwrite")
    if not target.parent.is_dir():
        raise UsageError(f"no folder {target.parent}; make it first")
    shutil.copyfile(source, target)
    print_result(target)


def _kinds() -> dict[str, type[Section]]:
    from soracli.pipelines.recipes import RECIPES

    return dict(RECIPES)


def _load(name: str, overrides: list[str]) -> Loaded[Section]:
    from soracli.recipe.find import find_recipe
    from soracli.recipe.load import load_recipe, recipe_kind

    kinds, source = _kinds(), find_recipe(name)
    return load_recipe(kinds[recipe_kind(source, kinds)], source, overrides)


def _title(path: Path) -> str:
    """The comment with which a recipe begins: what it makes, on what, in what time."""
    first = path.read_text("utf-8").partition("\n")[0]
    return first.lstrip("# ").strip() if first.startswith("#") else ""
