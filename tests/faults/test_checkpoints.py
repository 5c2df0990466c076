"""Checkpoints and models against what disks, clocks and strangers do to them."""

from __future__ import annotations

import json
import os
import resource
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from soracli.cli.app import main
from soracli.core.errors import ArtifactError, MachineError
from soracli.core.files import sha256_file
from soracli.core.progress import SilentReporter
from soracli.models.store import load_vae, save_vae
from soracli.pipelines import train_dit as pipeline
from soracli.pipelines.dit_model import show_draft
from soracli.pipelines.train_dit import train_dit
from soracli.training.checkpoint import load_checkpoint, load_latest, save_checkpoint
from soracli.training.run_folder import RunFolder
from tests.models.tiny import tiny_vae
from tests.pipelines.runs import dit_recipe, make_cache

BOMB = b"cos\nsystem\n(S'touch boom'\ntR."


def save(folder: Path, step: int) -> Path:
    return save_checkpoint(folder, step, {"model": {"weight": torch.full((8,), float(step))}}, {"step": step}, keep=3)


def header(**tensors: object) -> bytes:
    """A safetensors header, without what follows it."""
    text = json.dumps(tensors).encode()
    return struct.pack("<Q", len(text)) + text


def tensor(first: int, last: int, *shape: int) -> dict[str, object]:
    return {"dtype": "F32", "shape": shape, "data_offsets": [first, last]}


ONE = b'"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}'
HOSTILE = {
    "a header of 2^62 bytes": struct.pack("<Q", 2**62) + b"{}",
    "a header that is cut": header(a=tensor(0, 4, 1))[:-3],
    "something after the tensors": header(a=tensor(0, 4, 1)) + bytes(4) + b"junk",
    "tensors that overlap": header(a=tensor(0, 8, 2), b=tensor(4, 12, 2)) + bytes(12),
    "a shape that overflows": header(a=tensor(0, 4, 2**40, 2**40)) + bytes(4),
    "a shape larger than its bytes": header(a=tensor(0, 4, 2**30)) + bytes(4),
    "no header": b"",
    "a pickle": BOMB,
}  # fmt: skip


@pytest.mark.row(10, 11)
@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE.keys())
def test_files_made_to_harm_are_refused_in_a_line_and_little_memory(workspace: Path, content: bytes) -> None:
    """As a model, and in a checkpoint whose manifest vouches for them."""
    save_vae(workspace / "vae", tiny_vae(), torch.zeros(4), torch.ones(4), {})
    (workspace / "vae/model.safetensors").write_bytes(content)
    path = save(workspace / "checkpoints", 1)
    (path / "model.safetensors").write_bytes(content)
    manifest = json.loads((path / "manifest.json").read_text())
    manifest["files"]["model.safetensors"] = {"bytes": len(content), "sha256": sha256_file(path / "model.safetensors")}
    (path / "manifest.json").write_text(json.dumps(manifest))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for read in (lambda: load_vae(workspace / "vae"), lambda: load_checkpoint(path)):
        with pytest.raises(ArtifactError) as caught:
            read()
        assert "\n" not in str(caught.value)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300 * 1024  # KiB
    assert not (workspace / "boom").exists()


@pytest.mark.row(11)
def test_a_name_twice_is_one_tensor_and_so_no_model(tmp_path: Path) -> None:
    """Safetensors reads it; that the tensors are not those of the model is noticed all the same."""
    save_vae(tmp_path / "vae", tiny_vae(), torch.zeros(4), torch.ones(4), {})
    twice = struct.pack("<Q", 2 * len(ONE) + 3) + b"{" + ONE + b"," + ONE + b"}" + bytes(4)
    (tmp_path / "vae/model.safetensors").write_bytes(twice)
    with pytest.raises(ArtifactError, match="is damaged"):
        load_vae(tmp_path / "vae")


@pytest.mark.row(10)
def test_a_pickle_is_no_model_to_begin_from(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("bomb.pt", "bomb.ckpt"):
        (workspace / name).write_bytes(BOMB)
        arguments = ["dit", "train", "--latents", "latents", "--vae", "nano", "--out", "run", "--init", name]
        assert main(arguments) == 4
        assert f"{name} is a file, not a model" in capsys.readouterr().err
    (workspace / "folder").mkdir()
    (workspace / "folder/.metadata").write_bytes(BOMB)
    assert main(["model", "show", "folder"]) == 4
    path = save(workspace / "checkpoints", 1)
    (path / ".metadata").write_bytes(BOMB)
    (path / "model.pt").write_bytes(BOMB)
    assert load_latest(workspace / "checkpoints") is not None
    assert not (workspace / "boom").exists()


@pytest.mark.row(16)
def test_order_is_by_step_whatever_the_clock_says(tmp_path: Path) -> None:
    for step, when in ((1, 4_000_000_000), (2, 1), (3, 2_000_000_000)):
        path = save(tmp_path, step)
        for file in (*path.iterdir(), path):
            os.utime(file, (when, when))
    assert load_latest(tmp_path).step == 3  # type: ignore[union-attr]
    save(tmp_path, 4)
    assert sorted(path.name[-1] for path in tmp_path.iterdir()) == ["2", "3", "4"]


@pytest.mark.row(17)
@pytest.mark.parametrize("target", ["step_00000001", "nowhere", "/etc"])
def test_links_are_not_asked_which_is_the_latest(tmp_path: Path, target: str) -> None:
    save(tmp_path, 1)
    save(tmp_path, 2)
    (tmp_path / "latest").symlink_to(target)
    assert load_latest(tmp_path).step == 2  # type: ignore[union-attr]
    save(tmp_path, 3)
    assert (tmp_path / "latest").is_symlink() and load_latest(tmp_path).step == 3  # type: ignore[union-attr]


@pytest.mark.row(14)
def test_a_folder_that_cannot_be_written_is_refused_before_anything_is_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vae, latents = make_cache(tmp_path)
    place = tmp_path / "place"
    place.mkdir()

    def build(*arguments: object, **options: object) -> None:
        raise AssertionError("a model was built")

    monkeypatch.setattr(pipeline, "build_state", build)
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", place], capture_output=True, check=False)
    if mounted.returncode:
        place.chmod(0o555)
    try:
        if os.access(place, os.W_OK):
            pytest.skip("nothing is read-only here")
        for out in (place, place / "run"):
            with pytest.raises(MachineError, match=r"as a run folder: (Read-only|Permission)"):
                train_dit(dit_recipe(), latents=latents, vae=vae, out=out, device="cpu")
    finally:
        if not mounted.returncode:
            subprocess.run(["umount", place], check=True)


class Meanwhile(SilentReporter):
    """A reporter that does something when people would be told the first thing."""

    def __init__(self, action: Callable[[], object]) -> None:
        self.action: Callable[[], object] | None = action

    def note(self, text: str) -> None:
        action, self.action = self.action, None
        if action is not None:
            action()


@pytest.mark.row(15)
def test_a_run_that_vanishes_is_not_made_anew(tmp_path: Path) -> None:
    vae, latents = make_cache(tmp_path)
    (tmp_path / "runs").mkdir()
    out = tmp_path / "runs/one"
    vanish = Meanwhile(lambda: out.rename(tmp_path / "moved"))
    with pytest.raises(MachineError, match=r"cannot write a checkpoint \(No such file"):
        train_dit(dit_recipe(), latents=latents, vae=vae, out=out, device="cpu", reporter=vanish)
    gone = RunFolder(out, True)
    with pytest.raises(MachineError, match="is gone"):
        show_draft(None, None, None, None, None, gone, None, None)  # type: ignore[arg-type]
    assert list((tmp_path / "runs").iterdir()) == []
