"""Prompt files: what counts as a prompt, and what is said of files that hold none."""

from pathlib import Path

import pytest

from soracli.core.errors import DataError
from soracli.data.prompt_file import read_prompts


def test_lines_are_prompts(tmp_path: Path) -> None:
    path = tmp_path / "prompts.txt"
    path.write_bytes("\ufeffa red ball\r\n\r\n# not this\r\n  two cubes  \n   # nor this\n#\nмяч # 2".encode())
    assert read_prompts(path) == ["a red ball", "two cubes", "мяч # 2"]


def test_refusals(tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("\n# nothing\n")
    (tmp_path / "latin").write_bytes("ü".encode("latin-1"))
    for name, said in (
        ("none", "no such file"),
        ("empty", "holds no prompt"),
        ("latin", "is no UTF-8 text (byte 0)"),
        (".", "is a directory"),
    ):
        with pytest.raises(DataError) as error:
            read_prompts(tmp_path / name)
        assert said in str(error.value)
