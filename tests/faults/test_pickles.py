"""Pickle bombs in every place where a file of weights, latents or a checkpoint is looked for: refused, never loaded."""

from __future__ import annotations

import ast
import json
import pickle
from pathlib import Path

import pytest
import torch

from soracli.cli.app import main
from soracli.core.errors import ArtifactError
from soracli.core.latent_spec import LatentSpec
from soracli.data.latents import LatentCache, write_index, write_shard
from soracli.data.latents_file import read_latents_record
from soracli.models.store import load_vae, save_vae
from soracli.training.checkpoint import load_latest, save_checkpoint
from tests.faults.bombs import plain_bomb, torch_bomb
from tests.models.tiny import tiny_vae

SPEC = LatentSpec(channels=2, compression=(4, 8, 8), mean=(0.0, 1.0), std=(1.0, 2.0), vae_hash="ab")


@pytest.fixture(params=["plain", "torch"])
def bomb(request: pytest.FixtureRequest, tmp_path: Path) -> bytes:
    """Makes the folder ``made`` beside everything else; the test fails if it is there in the end."""
    made = tmp_path / "made"
    content = plain_bomb(made) if request.param == "plain" else torch_bomb(made, tmp_path / "bomb.pt")
    request.addfinalizer(lambda: pytest.fail("the bomb went off") if made.exists() else None)
    return content


def test_the_bomb_is_one(tmp_path: Path) -> None:
    pickle.loads(plain_bomb(tmp_path / "made"))
    assert (tmp_path / "made").is_dir()
    torch_bomb(tmp_path / "again", tmp_path / "a.pt")
    torch.load(tmp_path / "a.pt", weights_only=False)
    assert (tmp_path / "again").is_dir()


@pytest.mark.row(10)
@pytest.mark.parametrize("name", ["bomb.pt", "bomb.ckpt", "bomb.safetensors"])
def test_named_as_a_model(bomb: bytes, workspace: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    Path(name).write_bytes(bomb)
    for arguments in (
        ["generate", "a ball", "--seed", "1", "--model", name],
        ["model", "show", name],
        ["latents", "cache", "--vae", name, "--out", "cache"],
        ["vae", "decode", name, "--out", "a.mp4"],
    ):
        assert main(arguments) == 4
        out, error = capsys.readouterr()
        assert out == "" and error.count("\n") == 1 and name in error


@pytest.mark.row(10)
@pytest.mark.parametrize("file", ["model.safetensors", "config.json"])
def test_inside_a_model(bomb: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str], file: str) -> None:
    model = tmp_path / "model"
    save_vae(model / "vae", tiny_vae(), torch.zeros(4), torch.ones(4), {})
    (model / "vae" / file).write_bytes(bomb)
    with pytest.raises(ArtifactError):
        load_vae(model)
    assert main(["model", "show", str(model)]) == 4
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.row(10)
@pytest.mark.parametrize("file", ["model.safetensors", "state.json", "manifest.json"])
def test_as_a_checkpoint(bomb: bytes, tmp_path: Path, file: str) -> None:
    checkpoints = tmp_path / "checkpoints"
    checkpoints.mkdir()
    path = save_checkpoint(checkpoints, 1, {"model": {"weight": torch.ones(2)}}, {}, 1)
    (path / file).write_bytes(bomb)
    with pytest.raises(ArtifactError):
        load_latest(checkpoints)


@pytest.mark.row(10)
def test_as_metadata_of_a_checkpoint_it_is_not_looked_at(bomb: bytes, tmp_path: Path) -> None:
    checkpoints = tmp_path / "checkpoints"
    checkpoints.mkdir()
    path = save_checkpoint(checkpoints, 1, {"model": {"weight": torch.ones(2)}}, {}, 1)
    for place in (path, checkpoints, tmp_path):
        (place / ".metadata").write_bytes(bomb)
    found = load_latest(checkpoints)
    assert found is not None and found.step == 1


@pytest.mark.row(10)
@pytest.mark.parametrize("file", ["latents.json", "shards/first.json", "shards/first.safetensors"])
def test_in_a_cache_of_latents(bomb: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str], file: str) -> None:
    about = {"source": "world", "name": "a", "fps": 12.0, "captions": [], "still_captions": []}
    cache = tmp_path / "cache"
    write_shard(cache, "first", [torch.zeros(2, 1, 2, 2)], [about])
    write_index(cache, SPEC, ["first"], {})
    (cache / file).write_bytes(bomb)
    with pytest.raises(ArtifactError):
        opened = LatentCache(cache)
        opened.latents(opened.entries[0])
    assert main(["latents", "show", str(cache)]) == 4
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.row(10)
def test_as_a_file_of_latents(bomb: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_bytes(bomb)
    with pytest.raises(ArtifactError, match="no latents file"):
        read_latents_record(tmp_path / "a.safetensors")


@pytest.mark.row(10, 58)
def test_nothing_unpickles_unpacks_or_evaluates(repository: Path) -> None:
    """Every import and call of the package, by its syntax: what is not there cannot be reached by a file."""
    modules = {"pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "tarfile", "zipfile", "shutil.unpack"}
    calls = {"torch.load", "torch.jit.load", "np.load", "numpy.load", "os.system", "os.popen", "eval", "exec"}
    found = []
    for path in sorted((repository / "soracli").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            wrong = [name for name in names if name in modules or name.startswith("torch.distributed.checkpoint")]
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                shell = any(word.arg == "shell" for word in node.keywords)
                wrong += [called] if called in calls or called.endswith("unpack_archive") or shell else []
            found += [(path.name, node.lineno, name) for name in wrong]  # type: ignore[attr-defined]
    assert found == []


@pytest.mark.row(10)
def test_the_bomb_is_not_taken_for_json(bomb: bytes, tmp_path: Path) -> None:
    """The same bytes inside of text that is JSON are text."""
    (tmp_path / "config.json").write_text(json.dumps({"kind": "vae", "config": bomb.decode("latin-1")}))
    with pytest.raises(ArtifactError, match="format"):
        load_vae(tmp_path)
