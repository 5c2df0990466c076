"""The rules of the layout, checked on the source itself: imports, file sizes, docstrings, names of this machine."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import soracli

PACKAGE = Path(soracli.__file__).parent
SOURCES = sorted(PACKAGE.rglob("*.py"))
HEAVY = ("torch", "torchvision", "timm", "imageio", "imageio_ffmpeg", "numpy", "einops", "tokenizers")
MOST_LINES = 400


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


def is_torch_free(path: Path) -> bool:
    inside = path.relative_to(PACKAGE)
    return (
        inside.parts[0] in ("cli", "core", "recipe")
        or path.name in ("config.py", "__init__.py")
        or inside.as_posix() == "pipelines/recipes.py"
    )


def public_definitions(tree: ast.Module) -> Iterator[tuple[str, ast.AST]]:
    """Public functions, classes, and the methods of public classes that override nothing by name."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            yield node.name, node
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            for member in node.body:
                if isinstance(member, ast.FunctionDef | ast.AsyncFunctionDef) and not member.name.startswith("_"):
                    yield f"{node.name}.{member.name}", member


def imported_by(script: str) -> set[str]:
    """Top-level names of what a fresh interpreter has imported after ``script``."""
    after = f"{script}\nimport json, sys\nprint(json.dumps(sorted(sys.modules)), file=sys.stderr)"
    result = subprocess.run(
        [sys.executable, "-c", after], capture_output=True, text=True, check=True, cwd=PACKAGE.parent
    )
    return {name.partition(".")[0] for name in json.loads(result.stderr.splitlines()[-1])}


def test_the_package_was_found() -> None:
    assert len(SOURCES) > 20
    assert {"cli", "core", "recipe"} <= {path.relative_to(PACKAGE).parts[0] for path in SOURCES}


def test_what_must_be_torch_free_is() -> None:
    modules = [module_name(path) for path in SOURCES if is_torch_free(path)]
    assert "soracli.cli.app" in modules
    assert "soracli.recipe.load" in modules
    assert imported_by("\n".join(f"import {name}" for name in modules)).isdisjoint(HEAVY)


def test_help_imports_nothing_slow() -> None:
    """The stand-in for its 0.25 s, which a loaded machine would not keep."""
    imported = imported_by("from soracli.cli.app import main\nassert main(['--help']) == 0")
    assert imported.isdisjoint({*HEAVY, "rich", "pydantic", "tomli", "importlib_metadata"})


@pytest.mark.parametrize("path", SOURCES, ids=module_name)
def test_a_file_is_short_and_documented(path: Path) -> None:
    text = path.read_text("utf-8")
    assert len(text.splitlines()) <= MOST_LINES
    tree = ast.parse(text)
    assert ast.get_docstring(tree), "the module has no docstring"
    bare = [name for name, node in public_definitions(tree) if not ast.get_docstring(node)]  # type: ignore[arg-type]
    assert not bare, f"no docstring: {bare}"


def test_only_the_console_imports_rich() -> None:
    users = [module_name(path) for path in SOURCES if "rich" in imported_names(path)]
    assert users == ["soracli.cli.console"]


def imported_names(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.partition(".")[0])
    return names


def test_nothing_is_unpickled_and_no_shell_is_asked() -> None:
    forbidden = {"load": {"torch", "pickle"}, "save": {"torch"}, "loads": {"pickle"}, "system": {"os"}}
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            if isinstance(node.func, ast.Attribute) and isinstance(node.func.value, ast.Name):
                assert node.func.value.id not in forbidden.get(node.func.attr, set()), f"{path}:{node.lineno}"
            shell = [keyword for keyword in node.keywords if keyword.arg == "shell"]
            assert not shell, f"{path}:{node.lineno}"


def test_imports_go_down_only(repository: Path) -> None:
    linter = Path(sys.executable).with_name("lint-imports")
    if not linter.is_file():
        pytest.fail("import-linter is not installed: pip install -e '.[dev]'")
    result = subprocess.run([linter, "--no-cache"], cwd=repository, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout


def test_the_import_contract_names_every_folder(repository: Path) -> None:
    """A new folder that no contract knows would be free to import anything."""
    layers = (repository / "pyproject.toml").read_text("utf-8").partition("layers = [")[2].partition("]")[0]
    for folder in (path for path in PACKAGE.iterdir() if (path / "__init__.py").is_file()):
        assert f"soracli.{folder.name}" in layers


def test_every_test_says_what_it_checks(repository: Path) -> None:
    tests = sorted((repository / "tests").rglob("test_*.py"))
    assert len(tests) > 5
    bare = [str(path) for path in tests if not ast.get_docstring(ast.parse(path.read_text("utf-8")))]
    assert not bare
