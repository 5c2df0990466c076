"""Latents written in any chunks and read in any others, against safetensors' own reading; every damage is said."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from soracli.core.errors import ArtifactError, MachineError, NumericsError, SoraError, UsageError
from soracli.core.latent_spec import LatentSpec
from soracli.data import latents_file
from soracli.data.latents_file import LatentsWriter, read_latents_record, stream_latents
from soracli.data.latents_record import LatentsRecord

SPEC = LatentSpec(channels=3, compression=(4, 8, 16), mean=(0.0, 1.0, 2.0), std=(1.0, 2.0, 3.0), vae_hash="ab")


def record_of(**changes: Any) -> LatentsRecord:
    """30 frames of 33x9: 9 latent frames of 2x3, with 3 frames, 7 rows and 15 columns added."""
    given_: dict[str, Any] = {"num_frames": 30, "height": 9, "width": 33, "stored": "float32", **changes}
    return LatentsRecord(spec=SPEC, fps=Fraction(30000, 1001), made={"source": "ü.mp4", "tile": None}, **given_)


def write(path: Path, latents: torch.Tensor, record: LatentsRecord, chunk: int = 4, **given_: Any) -> Path:
    with LatentsWriter(path, record, **given_) as writer:
        for part in latents.split(chunk, 1):
            writer.write(part)
    return path


@settings(max_examples=12)
@given(num_frames=st.integers(1, 40), written=st.integers(1, 12), read=st.integers(1, 12), half=st.booleans())
def test_what_is_written_is_read(
    tmp_path_factory: pytest.TempPathFactory, num_frames: int, written: int, read: int, half: bool
) -> None:
    record = record_of(num_frames=num_frames, stored="float16" if half else "float32")
    latents = torch.randn(record.shape, generator=torch.Generator().manual_seed(num_frames))
    path = write(tmp_path_factory.mktemp("latents") / "x.safetensors", latents, record, written)
    stored = latents.half() if half else latents
    assert torch.equal(load_file(path)["latents"], stored)
    found = read_latents_record(path)
    assert (found.spec, found.num_frames, found.fps, found.made) == (SPEC, num_frames, record.fps, record.made)
    chunks = list(stream_latents(path, found, read))
    assert torch.equal(torch.cat(chunks, 1), stored.float())
    assert all(chunk.dtype == torch.float32 and chunk.shape[1] <= read for chunk in chunks)
    assert [file.name for file in path.parent.iterdir()] == ["x.safetensors"]


def test_the_same_latents_have_one_hash_however_they_came(tmp_path: Path) -> None:
    latents = torch.randn(record_of().shape)
    paths = [write(tmp_path / f"{chunk}.safetensors", latents, record_of(), chunk) for chunk in (1, 2, 9)]
    assert len({path.read_bytes() for path in paths}) == 1
    other = write(tmp_path / "other.safetensors", latents + 1e-3, record_of())
    assert read_latents_record(other).sha256 != read_latents_record(paths[0]).sha256


def test_slices_of_time_and_what_was_added(tmp_path: Path) -> None:
    latents = torch.randn(record_of().shape)
    path = write(tmp_path / "x.safetensors", latents, record_of())
    with safe_open(path, "pt") as file:
        assert torch.equal(file.get_slice("latents")[:, 2:5], latents[:, 2:5])
        values = json.loads(file.metadata()["sora"])
    assert values["padding"] == {"frames": 3, "rows": 7, "columns": 15}
    assert (values["fps"], values["height"], values["width"], values["num_frames"]) == ("30000/1001", 9, 33, 30)
    assert LatentSpec.from_dict(values["spec"]) == SPEC
    assert values["made"]["source"] == "ü.mp4"


def test_nothing_is_left_of_what_failed(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    path.write_text("precious")
    latents = torch.randn(record_of().shape)
    bad = latents.clone()
    bad[1, 7] = torch.nan
    for problem, tensor, record in (
        (NumericsError, bad, record_of()),
        (NumericsError, 1e5 * latents, record_of(stored="float16")),
        (ValueError, latents[:, :8], record_of()),
        (ValueError, latents.repeat(1, 2, 1, 1), record_of()),
        (ValueError, latents[:2], record_of()),
    ):
        with pytest.raises(problem):
            write(path, tensor, record, overwrite=True)
        assert path.read_text() == "precious"
        assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(UsageError, match="exists; give another name, or --overwrite"):
        write(path, latents, record_of())
    with pytest.raises(UsageError, match="is a folder"):
        write(tmp_path, latents, record_of())
    with pytest.raises(MachineError, match="cannot write"):
        write(path / "x.safetensors", latents, record_of())
    assert path.read_text() == "precious"
    write(path, latents, record_of(), overwrite=True)
    assert read_latents_record(path).shape == (3, 9, 2, 3)


def test_a_full_disk_is_said_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(folder: Path, needed: int, what: str) -> None:
        raise MachineError(f"{what} needs {needed} bytes")

    monkeypatch.setattr(latents_file, "check_free_disk", full)
    with pytest.raises(MachineError, match=f"the latents needs {3 * 9 * 2 * 3 * 4} bytes"):
        write(tmp_path / "x.safetensors", torch.zeros(record_of().shape), record_of())
    assert not list(tmp_path.iterdir())


def test_every_damage_is_said(tmp_path: Path) -> None:
    path = write(tmp_path / "x.safetensors", torch.randn(record_of().shape), record_of())
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[-10] ^= 1
    nan = whole[:-4] + b"\x00\x00\xc0\x7f"
    for content, problem, said in (
        (whole[:-50], ArtifactError, "is no latents file, or it is damaged"),
        (b"", ArtifactError, "is no latents file, or it is damaged"),
        (b"not safetensors at all", ArtifactError, "is no latents file"),
        (bytes(flipped), ArtifactError, "its latents are not those that were written"),
        (nan, NumericsError, "its latents are not finite"),
        (whole.replace(b'\\"num_frames\\": 30', b'\\"num_frames\\": 99'), ArtifactError, "of the video it describes"),
        (whole.replace(b'\\"num_frames\\": 30', b'\\"num_frames\\": -3'), ArtifactError, "impossible numbers"),
        (whole.replace(b"30000/1001", b"30000/0000"), ArtifactError, "is damaged"),
        (whole.replace(b'\\"channels\\"', b'\\"chunnels\\"'), ArtifactError, "x.safetensors is damaged"),
        (whole.replace(b'\\"format\\": 1', b'\\"format\\": 2'), ArtifactError, "has format 2; this sora reads 1"),
        (whole.replace(b'\\"kind\\": \\"latents', b'\\"kind\\": \\"lutents'), ArtifactError, "holds no latents"),
    ):
        assert content != whole
        path.write_bytes(content)
        with pytest.raises(problem, match=said) as caught:
            list(stream_latents(path, read_latents_record(path), 4))
        assert isinstance(caught.value, SoraError) and "\n" not in str(caught.value)
    save_file({"latents": torch.zeros(3, 9, 2, 3)}, path)
    with pytest.raises(ArtifactError, match="holds no latents of a video; make some: sora vae encode VIDEO"):
        read_latents_record(path)
    for missing in (tmp_path / "none.safetensors", tmp_path):
        with pytest.raises(ArtifactError):
            read_latents_record(missing)
