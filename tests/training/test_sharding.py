"""A toy that three ranks hold between them against each of them training all of it; checkpoints in slices; rows."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from soracli.core.errors import ArtifactError, UsageError
from soracli.training.checkpoint import load_checkpoint, load_latest
from soracli.training.checkpoint_slices import files_by_part, joined, read_part, slice_name
from soracli.training.ranks import rows_of, sharing_ranks
from tests.training.shard_child import RANKS
from tests.training.test_distributed import free_port

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """A folder with the checkpoint of three ranks, and what each says."""
    folder = tmp_path_factory.mktemp("ranks")
    done = subprocess.run(
        [sys.executable, "-m", "tests.training.shard_child", str(folder), free_port()],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder, [json.loads((folder / f"rank{rank}.json").read_text()) for rank in range(RANKS)]


@pytest.mark.parametrize(("name", "rounding"), [("adamw", 1e-12), ("muon", 1e-5)])
def test_what_ranks_hold_is_what_one_would(found, name, rounding):
    """Weights, averages and norms, with rows that do not divide, a weight without gradient, and a step left out."""
    for report in found[1]:
        assert max(report[name][key] for key in ("weights", "average", "gathered", "norms")) < rounding


def test_checkpoints_in_slices_go_on_to_the_bit(found):
    assert [report["going on"] for report in found[1]] == [{"read": True, "same": True}] * RANKS


def test_matrices_are_shared(found):
    assert all(report["matrices"] for report in found[1])


def test_a_damaged_or_missing_slice_is_found(found, tmp_path):
    [path] = (found[0] / "checkpoints").iterdir()
    assert len(list(path.glob("model-*.safetensors"))) == RANKS
    copy = tmp_path / path.name
    copy.mkdir()
    for file in path.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    assert load_latest(tmp_path).step == 3
    slice_ = copy / "ema-00002-of-00003.safetensors"
    whole = slice_.read_bytes()
    slice_.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(ArtifactError, match=r"ema-00002-of-00003.safetensors has changed"):
        load_checkpoint(copy)
    slice_.unlink()
    with pytest.raises(ArtifactError, match=r"ema-00002-of-00003.safetensors is missing"):
        load_checkpoint(copy)
    manifest = json.loads((copy / "manifest.json").read_text())
    del manifest["files"][slice_.name]
    (copy / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ArtifactError, match="the slices of 'ema' are not complete"):
        load_checkpoint(copy)


@given(count=st.integers(0, 50), slices=st.integers(1, 12))
def test_rows_are_cut_as_torch_chunks(count, slices):
    chunks = [list(chunk) for chunk in torch.arange(count).chunk(slices)] if count else []
    chunks += [[]] * (slices - len(chunks))
    assert [list(range(*rows_of(count, slices, slice_))) for slice_ in range(slices)] == chunks


def test_ranks_that_hold_weights_between_them():
    assert [sharing_ranks(0, 6), sharing_ranks(1, 6), sharing_ranks(3, 6)] == [6, 1, 3]
    with pytest.raises(UsageError, match=r"shard_ranks = 4 does not divide 6 ranks; what fits: 1, 2, 3, 6, or 0"):
        sharing_ranks(4, 6)
    with pytest.raises(UsageError, match=r"does not divide 1 rank; what fits: 1, or 0"):
        sharing_ranks(2, 1)


def test_names_of_slices_and_parts(tmp_path):
    assert files_by_part(
        ["b.safetensors", "state.json", "a-00002-of-00002.safetensors", "a-00001-of-00002.safetensors"]
    )
    for wrong in (["a-00002-of-00002"], ["a-00001-of-00002", "a-00002-of-00003"], ["a", "a-00001-of-00001"]):
        with pytest.raises(ArtifactError, match="the slices of 'a' are not complete"):
            files_by_part(f"{name}.safetensors" for name in wrong)
    tensor = torch.arange(12.0).view(4, 3)
    slices = ({"x": tensor[:3], "scalar": torch.tensor(2)}, {"x": tensor[3:]}, {})
    files = [tmp_path / f"{slice_name('a', number, 3)}.safetensors" for number in range(3)]
    for file, slice_ in zip(files, slices, strict=True):
        save_file(slice_, file)
    found = read_part(files, "cpu", joined)
    assert found.keys() == {"x", "scalar"} and torch.equal(found["x"], tensor) and int(found["scalar"]) == 2
