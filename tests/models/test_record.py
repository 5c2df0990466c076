"""Records of parts: where a part is found, and what is said when it is another part, damaged, or newer."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from soracli.core.errors import ArtifactError
from soracli.models.record import part_folder, read_record


def write(folder: Path, **changes: object) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps({"format": 1, "kind": "vae", "hash": "ab", "config": {}, **changes}))
    return folder


def test_a_part_is_found_by_any_of_its_names(tmp_path: Path) -> None:
    part = write(tmp_path / "run/model/vae")
    for name in ("run", "run/model", "run/model/vae"):
        assert part_folder(tmp_path / name, "vae") == part
    assert read_record(part, "vae")["hash"] == "ab"


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    write(tmp_path / "run/model/vae")
    (tmp_path / "begun").mkdir()
    (tmp_path / "begun/run.json").touch()
    for name, said in (
        ("run", "holds vae, but no dit: name a model that has one"),
        ("begun", "is a run that is not finished: run its training command again"),
        (".", "holds no dit: name a model folder or a finished run"),
    ):
        with pytest.raises(ArtifactError) as error:
            part_folder(tmp_path / name, "dit")
        assert said in str(error.value)


def test_wrong_records(tmp_path: Path) -> None:
    write(tmp_path / "newer", format=9)
    write(tmp_path / "other", kind="dit")
    (write(tmp_path / "damaged") / "config.json").write_text("{")
    (write(tmp_path / "list") / "config.json").write_text("[]")
    for name, said in (
        ("newer", "has format 9; this sora reads 1: update sora"),
        ("other", "holds a dit, not a vae"),
        ("damaged", "cannot be read"),
        ("list", "holds a damaged part, not a vae"),
        ("none", "holds no vae"),
    ):
        with pytest.raises(ArtifactError) as error:
            read_record(tmp_path / name, "vae")
        assert said in str(error.value)


def test_it_needs_no_torch() -> None:
    script = "import sys, soracli.models.record; assert not {'torch', 'numpy', 'pydantic'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", script], check=True)
