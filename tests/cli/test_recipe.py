"""``sora recipe`` on a folder of two toy recipes, against exact output; and on the recipes that come with sora."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import soracli
from soracli.cli.app import main
from soracli.pipelines import recipes
from tests.recipe.toy import Toy, VaeToy


@pytest.fixture
def folder(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Recipes of an installed package; the current folder is empty but for the package."""
    made = workspace / "site/soracli/recipe_files/nano"
    made.mkdir(parents=True)
    (made / "dit.toml").write_text('# A toy model.\nkind = "dit.train"\n[dit]\ndepth = 3\n')
    (made / "vae.toml").write_text('kind = "vae.train"\nsteps = 3\n')
    monkeypatch.setattr(soracli, "__file__", str(workspace / "site/soracli/__init__.py"))
    monkeypatch.setattr(recipes, "RECIPES", {"dit.train": Toy, "vae.train": VaeToy})
    return made


def test_list(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recipe", "list"]) == 0
    assert capsys.readouterr() == (
        "name      kind       title\nnano/dit  dit.train  A toy model.\nnano/vae  vae.train\n",
        "",
    )
    assert main(["recipe", "list", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0] == {"name": "nano/dit", "kind": "dit.train", "title": "A toy model."}


def test_show(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recipe", "show", "nano/vae", "--set", "steps=5"]) == 0
    out = capsys.readouterr().out
    assert out == 'kind = "vae.train"  # vae.toml:1\nsteps = 5  # --set\n'
    assert main(["recipe", "show", "nano/vae", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["recipe"] == {"kind": "vae.train", "steps": 3}
    assert shown["origins"]["steps"] == "vae.toml:2"


def test_what_is_shown_can_be_used(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recipe", "show", "nano/dit", "--set", "sources=[{path = 'x'}]"]) == 0
    Path("mine.toml").write_text(capsys.readouterr().out)
    assert main(["recipe", "check", "mine.toml"]) == 0
    assert capsys.readouterr() == ("mine.toml: ok\n", "")


def test_check_tells_all_problems_of_all_files(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("a.toml").write_text('kind = "dit.train"\n[dit]\ndpeth = 3\ndepth = 0\n')
    Path("b.toml").write_text('kind = "dit.trian"\n')
    assert main(["recipe", "check", "a.toml", "nano/vae", "b.toml", "nano/vea"]) == 2
    out, error = capsys.readouterr()
    assert out == f"{folder}/vae.toml: ok\n"
    assert error.splitlines() == [
        "sora: error: a.toml:3: unknown key 'dit.dpeth'; did you mean 'dit.depth'?",
        "sora: error: a.toml:4: 'dit.depth' must be a whole number from 1 to 100, got 0",
        'sora: error: b.toml:1: \'kind\' must be one of "dit.train", "vae.train", got "dit.trian"; '
        'did you mean "dit.train"?',
        "sora: error: no recipe 'nano/vea'; did you mean 'nano/vae'?",
    ]


def test_check_without_names_checks_all(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recipe", "check"]) == 0
    assert capsys.readouterr().out == f"{folder}/dit.toml: ok\n{folder}/vae.toml: ok\n"


def test_schema(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recipe", "schema", "vae.train"]) == 0
    assert json.loads(capsys.readouterr().out)["properties"]["steps"]["default"] == 10
    assert main(["recipe", "schema", "vae.trian"]) == 2
    assert capsys.readouterr().err == "sora: error: no kind 'vae.trian'; did you mean 'vae.train'?\n"


def test_copy(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recipe", "copy", "nano/dit"]) == 0
    assert capsys.readouterr().out == "dit.toml\n"
    assert Path("dit.toml").read_text() == (folder / "dit.toml").read_text()
    assert main(["recipe", "copy", "nano/vae", "dit.toml"]) == 2
    assert capsys.readouterr().err == "sora: error: dit.toml exists; give another name, or --overwrite\n"
    assert main(["recipe", "copy", "nano/vae", "dit.toml", "-y"]) == 0
    assert Path("dit.toml").read_text() == (folder / "vae.toml").read_text()
    assert main(["recipe", "copy", "dit.toml", "--overwrite"]) == 2
    assert "is that recipe itself" in capsys.readouterr().err
    assert main(["recipe", "copy", "nano/vae", "none/x.toml"]) == 2
    assert capsys.readouterr().err == "sora: error: no folder none; make it first\n"
    Path("mine").mkdir()
    assert main(["recipe", "copy", "nano/vae", "mine"]) == 0
    assert capsys.readouterr().out == "mine/vae.toml\n"


def test_the_kinds_of_sora_have_their_names() -> None:
    """The kind in the table, in the class, and the command it names are one."""
    assert {"vae.train", "latents.cache", "dit.train", "judge.train"} <= set(recipes.RECIPES)
    for kind, recipe_class in recipes.RECIPES.items():
        assert recipe_class.model_fields["kind"].default == kind
