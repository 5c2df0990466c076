"""The emoji script on tiny archives made here: what is kept, how it is named and split, and what is refused."""

from __future__ import annotations

import importlib.util
import io
import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path
from types import ModuleType

import pytest
from PIL import Image


@pytest.fixture
def script(repository: Path) -> ModuleType:
    pytest.importorskip("emoji")
    spec = importlib.util.spec_from_file_location("name_emoji", repository / "recipes" / "nano" / "name_emoji.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def webp(frames: int) -> bytes:
    pictures = [Image.new("RGBA", (8, 8), (20 * k, 0, 0, 255)) for k in range(frames)]
    content = io.BytesIO()
    pictures[0].save(content, "WEBP", save_all=True, append_images=pictures[1:], duration=42)
    return content.getvalue()


def pack(path: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def test_what_is_kept(script: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    archive = pack(
        tmp_path / "a.tgz",
        {
            "package/assets/1f6b4.webp": webp(3),
            "package/assets/1f6b4-1f3fb.webp": webp(3),
            "package/assets/2764-fe0f.webp": webp(2),
            "package/assets/1f680.webp": webp(1),
            "package/assets/1f6b4-1f6b4.webp": webp(2),
            "package/assets/../../1f525.webp": webp(2),
            "../1f525.webp": webp(2),
            "package/README.md": b"no picture",
        },
    )
    (tmp_path / "clips").mkdir()
    assert script.main([archive], tmp_path / "clips") == 0
    assert sorted(file.name for file in (tmp_path / "clips").iterdir()) == [
        "1f6b4.webp",
        "2764-fe0f.webp",
        "metadata.jsonl",
    ]
    records = [json.loads(line) for line in (tmp_path / "clips" / "metadata.jsonl").read_text().splitlines()]
    assert [(record["file_name"], record["caption"]) for record in records] == [
        ("1f6b4.webp", "person biking"),
        ("2764-fe0f.webp", "red heart"),
    ]
    said = capsys.readouterr()
    assert "2 animated emoji" in said.err
    assert "1 skin tones, 1 stills, 1 without a name" in said.err
    assert said.out == f"{tmp_path / 'clips'}\n"


def test_all_forms_of_an_emoji_are_on_one_side(script: ModuleType) -> None:
    for person in range(0x1F600, 0x1F6FF):
        forms = [
            [person],
            [person, 0xFE0F],
            [person, 0x1F3FD],
            [person, 0x200D, 0x2640, 0xFE0F],
            [person, 0x200D, 0x2642],
        ]
        assert len({script.split_of(form) for form in forms}) == 1
    farmers = [[person, 0x200D, 0x1F33E] for person in (0x1F468, 0x1F469, 0x1F9D1)]
    assert len({script.split_of(farmer) for farmer in farmers}) == 1


def test_the_split_is_the_same_for_ever(script: ModuleType) -> None:
    held_out = [f"{point:x}" for point in range(0x1F600, 0x1F650) if script.split_of([point]) == "validation"]
    assert held_out == ["1f60c", "1f60d", "1f617", "1f61a", "1f632", "1f63d", "1f640"]


def run(repository: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = ["bash", str(repository / "recipes" / "nano" / "fetch_emoji.sh"), *arguments]
    environment = {**os.environ, "PYTHON": sys.executable}
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60, check=False)


def test_the_shell_script_refuses(repository: Path, script: ModuleType, tmp_path: Path) -> None:
    assert run(repository).returncode == 2
    pack(tmp_path / "lobehub-fluent-emoji-anim-1-1.0.0.tgz", {"package/assets/1f6b4.webp": webp(2)})
    done = run(repository, str(tmp_path))
    assert done.returncode == 3
    assert "SHA-256 differs" in done.stderr
    assert list((tmp_path / "clips").iterdir()) == []


def test_the_shell_script_says_how_to_install(repository: Path, tmp_path: Path) -> None:
    command = ["bash", str(repository / "recipes" / "nano" / "fetch_emoji.sh"), str(tmp_path)]
    done = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "PYTHON": "false"}, timeout=60, check=False
    )
    assert done.returncode == 5
    assert "pip install" in done.stderr
