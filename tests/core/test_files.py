"""Atomic writes under a crash and a full disk, hashes against hashlib, free names against what lies there."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import subprocess
from pathlib import Path

import pytest

from soracli.core.errors import MachineError
from soracli.core.files import (
    check_free_disk,
    free_name,
    machine_error,
    part_name,
    sha256_file,
    write_json_atomic,
    write_text_atomic,
)


def test_hash(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(os.urandom(3_000_000))
    assert sha256_file(path) == hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_write_makes_folders_and_leaves_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "x" / "y" / "a.json"
    write_json_atomic(path, {"prompt": "ü😀"})
    write_json_atomic(path, {"prompt": "ü"})
    assert json.loads(path.read_text("utf-8")) == {"prompt": "ü"}
    assert list(path.parent.iterdir()) == [path]
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~_umask()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_a_failed_write_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.txt"
    write_text_atomic(path, "old")

    def fail(*names: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(MachineError, match="input/output error"):
        write_text_atomic(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_keeps_the_old_file(tmp_path: Path) -> None:
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(tmp_path)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("needs the right to mount a small disk")
    try:
        write_text_atomic(tmp_path / "a.txt", "old")
        with pytest.raises(MachineError, match="the disk is full"):
            write_text_atomic(tmp_path / "a.txt", "x" * 200_000)
        assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("a.txt", "old")]
        with pytest.raises(MachineError, match=r"the latents needs 1\.00 GiB"):
            check_free_disk(tmp_path / "not" / "yet", 1 << 30, "the latents")
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


def test_a_folder_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(MachineError, match="cannot write"):
        write_text_atomic(tmp_path / "file" / "a.txt", "x")


def test_free_disk(tmp_path: Path) -> None:
    check_free_disk(tmp_path / "not" / "yet", 1, "a byte")
    with pytest.raises(MachineError, match="are free"):
        check_free_disk(tmp_path, 1 << 60, "an exbibyte")


def test_free_names(tmp_path: Path) -> None:
    path = tmp_path / "a.b.mp4"
    assert free_name(path) == path
    path.touch()
    assert free_name(path) == tmp_path / "a.b-2.mp4"
    # Still being written, and a link to nothing.
    (tmp_path / "a.b-2.part.mp4").touch()
    (tmp_path / "a.b-3.mp4").symlink_to("nothing")
    assert free_name(path) == tmp_path / "a.b-4.mp4"
    assert part_name(path) == tmp_path / "a.b.part.mp4"


def test_what_the_system_says() -> None:
    assert "the disk is full" in str(machine_error(OSError(28, "No space left on device"), Path("x"), "cannot write"))
    assert str(machine_error(OSError(13, "Permission denied"), Path("x"), "cannot read")) == (
        "cannot read x: permission denied"
    )
