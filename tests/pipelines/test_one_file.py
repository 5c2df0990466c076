"""Modules as one file, against the modules; what cannot be put together is refused."""

import ast
import importlib
import sys
from pathlib import Path

import pytest

from soracli.pipelines import one_file as module
from soracli.pipelines.one_file import one_file

FUTURE = "from __future__ import annotations\n\n"
FILES = {
    "config.py": '"""Sections."""\nimport pydantic\n',
    "base.py": f'"""The base.\n\nOf two lines.\n"""\n{FUTURE}import math\n\nSIZE = math.floor(2.5)\n',
    "foreign.py": '"""Stands in."""\n\n\ndef twice(x: int) -> int:\n    return 2 * x\n',
    "top.py": f'"""What it is for."""\n{FUTURE}from math import ceil\n\nfrom numbers import twice\n'
    "\nfrom package.base import SIZE\nfrom package.config import Section\n\n\n"
    "def answer(section: Section) -> int:\n    # A comment.\n    return twice(SIZE) + ceil(0.5)\n",
}


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "package"
    folder.mkdir()
    for name, text in {"__init__.py": "", **FILES}.items():
        (folder / name).write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(module, "_PACKAGE", "package")
    for name in [name for name in sys.modules if name.partition(".")[0] == "package"]:
        monkeypatch.delitem(sys.modules, name)
    importlib.invalidate_caches()
    return folder


def test_one_file_does_what_the_modules_do(package: Path) -> None:
    text = one_file("package.top", {"numbers": "package.foreign"})
    namespace: dict[str, object] = {"__name__": "alone"}
    exec(compile(text, "alone.py", "exec"), namespace)
    assert namespace["answer"](None) == 5  # type: ignore[operator]
    assert ast.get_docstring(ast.parse(text)) == "What it is for."
    assert "    # A comment.\n" in text and "# The base.\n#\n# Of two lines.\n" in text
    assert "import math\nfrom math import ceil\n" in text and "package." not in text.replace(
        "# ---------- package.", ""
    )


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("SIZE = 3\n", "package.base and package.top both define SIZE"),
        ("def late() -> None:\n    import json\n", "package.top imports inside a function or a condition, line 16"),
        ("import math as mathematics\n", "package.top imports under another name, line 15"),
    ],
)
def test_what_cannot_be_one_file(package: Path, more: str, said: str) -> None:
    path = package / "top.py"
    path.write_text(path.read_text() + more)
    with pytest.raises(ValueError, match=said):
        one_file("package.top", {"numbers": "package.foreign"})
