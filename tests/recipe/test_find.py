"""Names and paths of recipes, against a folder made for the test and against the repository's own."""

from __future__ import annotations

from pathlib import Path

import pytest

import soracli
from soracli.core.errors import MachineError, UsageError
from soracli.recipe.find import find_recipe, find_reference, list_recipes, list_references, recipe_folder


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installed package with three recipes, in an empty current folder; gives the folder of the recipes."""
    folder = tmp_path / "site/soracli/recipe_files"
    for name in ("nano/vae", "nano/dit", "base/dit"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.toml").write_text("")
    monkeypatch.setattr(soracli, "__file__", str(tmp_path / "site/soracli/__init__.py"))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return folder


def test_a_checkout_uses_its_own_folder(repository: Path) -> None:
    assert recipe_folder() == repository / "recipes"


def test_a_wheel_uses_what_it_carries(wheel: Path) -> None:
    assert recipe_folder() == wheel
    assert list_recipes() == ["base/dit", "nano/dit", "nano/vae"]


def test_a_folder_called_recipes_beside_a_wheel_is_not_ours(wheel: Path) -> None:
    (wheel.parents[1] / "recipes").mkdir()
    assert recipe_folder() == wheel


def test_an_installation_without_recipes_says_so(wheel: Path) -> None:
    wheel.rename(wheel.with_name("gone"))
    with pytest.raises(MachineError, match="install it again"):
        list_recipes()


@pytest.mark.parametrize("name", ["nano/vae", "nano/vae.toml"])
def test_names(wheel: Path, name: str) -> None:
    assert find_recipe(name) == wheel / "nano/vae.toml"


def test_paths_and_run_folders(wheel: Path) -> None:
    Path("nano").mkdir()
    for file in ("mine.toml", "nano/vae.toml"):
        Path(file).write_text("")
    Path("runs/x").mkdir(parents=True)
    Path("runs/x/recipe.toml").write_text("")
    assert find_recipe("mine.toml") == Path("mine.toml")
    assert find_recipe("nano/vae.toml") == Path("nano/vae.toml"), "a file named with its ending comes first"
    assert find_recipe("nano/vae") == wheel / "nano/vae.toml", "a name does not depend on the current folder"
    assert find_recipe("./nano/vae.toml") == Path("nano/vae.toml")
    assert find_recipe("runs/x") == Path("runs/x/recipe.toml")
    assert find_recipe(str(Path("mine.toml").absolute())) == Path("mine.toml").absolute()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nano/vea", "no recipe 'nano/vea'; did you mean 'nano/vae'?"),
        ("vae", "no recipe 'vae'; did you mean 'nano/vae'?"),
        ("large/dit", "no recipe 'large/dit'; did you mean 'base/dit' or 'nano/dit'?"),
        ("zzz", "no recipe 'zzz'; there are base/dit, nano/dit, nano/vae"),
        ("nano", "'nano' is a folder of recipes; take one of nano/dit, nano/vae"),
        ("mien.toml", "no recipe file 'mien.toml'; did you mean 'mine.toml'?"),
        ("recipes/nano/vae.toml", "no recipe 'recipes/nano/vae.toml'; did you mean 'nano/vae'?"),
        ("dit.depth=12", "no recipe 'dit.depth=12'; to change a key of a recipe write: --set dit.depth=12"),
        ("", "no recipe ''; there are base/dit, nano/dit, nano/vae"),
    ],
)
def test_what_is_not_there_names_the_nearest(wheel: Path, name: str, message: str) -> None:
    Path("mine.toml").write_text("")
    with pytest.raises(UsageError) as caught:
        find_recipe(name)
    assert str(caught.value) == message


@pytest.fixture
def references(wheel: Path) -> Path:
    """Reference curves of two of the recipes."""
    for name in ("nano/reference/vae", "base/reference/dit"):
        (wheel / name).parent.mkdir()
        (wheel / f"{name}.json").write_text("")
    (wheel / "nano/other.json").write_text("")
    return wheel


def test_references_lie_beside_their_recipes(references: Path) -> None:
    assert list_references() == ["base/dit", "nano/vae"]
    assert list_recipes() == ["base/dit", "nano/dit", "nano/vae"]
    for name in ("nano/vae", "nano/vae.toml", "nano/vae.json"):
        assert find_reference(name) == references / "nano/reference/vae.json"


def test_references_by_path(references: Path) -> None:
    Path("nano").mkdir()
    for file in ("mine.json", "plain", "nano/vae.json"):
        Path(file).write_text("")
    for name in ("mine.json", "./mine.json", "plain", "nano/vae.json", str(Path("mine.json").absolute())):
        assert find_reference(name) == Path(name)
    assert find_reference("nano/vae") == references / "nano/reference/vae.json", "a name does not depend on the folder"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nano/vea", "no reference 'nano/vea'; did you mean 'nano/vae'?"),
        ("large/vae", "no reference 'large/vae'; did you mean 'nano/vae'?"),
        ("zzz.json", "no reference 'zzz.json'; there are base/dit, nano/vae"),
    ],
)
def test_a_reference_that_is_not_there_names_the_nearest(references: Path, name: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        find_reference(name)
    assert str(caught.value) == f"{message}; one is made of a run by: sora compare RUN --write FILE"


def test_without_any_reference_it_says_so(wheel: Path) -> None:
    with pytest.raises(UsageError, match="there are none; one is made"):
        find_reference("nano/vae")
