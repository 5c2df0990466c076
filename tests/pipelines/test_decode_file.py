"""Decoded files against the VAE's own frames; exactly the size and length that came; damage and NaN leave nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

import soracli
from soracli.core.errors import ArtifactError, NumericsError, Stopped, UsageError
from soracli.data.latents_file import read_latents_record
from soracli.data.video_read import probe_video, read_frames
from soracli.data.video_record import read_record
from soracli.models.codec import decode_stream
from soracli.models.store import load_vae
from soracli.pipelines import decode_file as module
from soracli.pipelines import encode_file as encode_module
from soracli.pipelines.decode_file import decode_file
from soracli.pipelines.encode_file import encode_file
from tests.data.media import make_video
from tests.pipelines.files import KeptFrames, Listener, write_vae

CPU = torch.device("cpu")
LOSSLESS = ("-c:v", "png", "-pix_fmt", "rgb24")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_vae(tmp_path_factory.mktemp("model"))


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "set_threads", lambda count: count)
    monkeypatch.setattr(encode_module, "set_threads", lambda count: count)


def make_latents(model: Path, folder: Path, source: str = "testsrc2=s=33x21:r=24:d=1,format=gbrp") -> Path:
    video = make_video(folder / "source.mkv", source, *LOSSLESS)
    return encode_file(video, model=model, out=folder / "source.safetensors", device="cpu", overwrite=True)


def decode(latents: Path, model: Path, name: str = "out.mp4", **given: Any) -> Path:
    return decode_file(latents, model=model, out=latents.with_name(name), device="cpu", **given)


def decoded_frames(latents: Path, model: Path, monkeypatch: pytest.MonkeyPatch, **given: Any) -> np.ndarray:
    """What goes to the writer, before a codec spoils it."""
    monkeypatch.setattr(module, "VideoWriter", KeptFrames)
    decode(latents, model, **given)
    return KeptFrames.last.frames


@pytest.mark.parametrize("num_frames", [1, 2, 5, 17, 30])
@pytest.mark.parametrize("size", ["1x1", "33x21", "16x8"])
def test_the_frames_size_and_rate_that_came(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: str, num_frames: int
) -> None:
    latents = make_latents(model, tmp_path, f"color=c=0x14b4dc:s={size}:r=24,trim=end_frame={num_frames}")
    width, height = map(int, size.split("x"))
    out = decode(latents, model)
    info = probe_video(out)
    assert (info.num_frames, info.height, info.width, info.fps) == (num_frames, height, width, 24)
    vae, spec = load_vae(model)
    whole = torch.cat(list(decode_stream(vae, spec, [load_file(latents)["latents"]], CPU)))
    frames = decoded_frames(latents, model, monkeypatch, overwrite=True)
    assert np.array_equal(frames, whole[:num_frames, :height, :width].numpy())


def test_frames_at_once(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    latents = make_latents(model, tmp_path)
    frames = [decoded_frames(latents, model, monkeypatch, chunk_frames=count) for count in (16, 1, 9, 1000)]
    assert max(map(len, KeptFrames.last.parts)) == 24
    for other in frames[1:]:
        assert np.abs(frames[0].astype(int) - other).max() <= 1


def test_half_precision_is_almost_the_same(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    latents = make_latents(model, tmp_path)
    half = encode_file(
        tmp_path / "source.mkv", model=model, out=tmp_path / "half.safetensors", dtype="float16", device="cpu"
    )
    assert half.stat().st_size < 0.75 * latents.stat().st_size
    one, other = (decoded_frames(path, model, monkeypatch).astype(int) for path in (latents, half))
    assert 0 < np.abs(one - other).max() <= 2


def test_the_file_says_what_made_it(model: Path, tmp_path: Path) -> None:
    latents = make_latents(model, tmp_path)
    listener = Listener()
    record = read_record(decode(latents, model, chunk_frames=8, reporter=listener))
    assert listener.frames == listener.total == 24
    assert record == {
        "latents": "source.safetensors",
        "latents_sha256": read_latents_record(latents).sha256,
        "vae": load_vae(model)[1].vae_hash,
        "num_frames": 24,
        "chunk_frames": 8,
        "tile": None,
        "tile_overlap": None,
        "device": "cpu",
        "sora": soracli.__version__,
    }


def test_pictures_and_animations(model: Path, tmp_path: Path) -> None:
    Image.new("RGB", (13, 9), (20, 180, 220)).save(tmp_path / "a.png")
    latents = encode_file(tmp_path / "a.png", model=model, out=tmp_path / "a.safetensors", device="cpu")
    path = decode(latents, model, "b.png")
    assert read_frames(path).shape == (1, 9, 13, 3)
    vae, spec = load_vae(model)
    (whole,) = decode_stream(vae, spec, [load_file(latents)["latents"]], CPU)
    assert np.array_equal(read_frames(path), whole[:, :9, :13].numpy())
    moving = make_latents(model, tmp_path, "testsrc2=s=32x16:r=10:d=0.7")
    assert probe_video(decode(moving, model, "c.gif")).num_frames == 7
    with pytest.raises(UsageError, match=r"d.png holds one picture, .* is 7 frames; name a .mp4"):
        decode(moving, model, "d.png")


def test_tiles(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    latents = make_latents(model, tmp_path, "testsrc2=s=150x125:r=8:d=1,format=gbrp")
    whole = decoded_frames(latents, model, monkeypatch).astype(int)
    listener = Listener()
    exact = decoded_frames(latents, model, monkeypatch, tile=112, reporter=listener)
    assert listener.notes == ["decoding in 5x4 tiles of up to 112 pixels, overlapping by 40, exact but for rounding"]
    assert np.abs(exact - whole).max() <= 1
    listener = Listener()
    rough = decoded_frames(latents, model, monkeypatch, tile=64, tile_overlap=16, reporter=listener)
    first, second = listener.notes
    assert first == "decoding in 5x4 tiles of up to 64 pixels, overlapping by 16, of the 40 that would be exact"
    end = second.partition("differ from those of whole frames by ")[2]
    rms, largest = (float(word) for word in end.replace(" rms", "").removesuffix(" at most").split(", "))
    assert 0 < rms < largest < 2 * np.abs(rough - whole).max() + 1


def test_a_stop_keeps_what_plays(model: Path, tmp_path: Path) -> None:
    latents = make_latents(model, tmp_path, "testsrc2=s=16x16:r=12:d=5")
    part = tmp_path / "out.part.mp4"
    with pytest.raises(Stopped) as stop:
        decode(latents, model, reporter=Listener(stop_after=2))
    assert str(stop.value) == f"SIGINT: 29 of 60 frames are in {part}, which plays; run the same command again"
    assert probe_video(part).num_frames == 29 and not (tmp_path / "out.mp4").exists()
    decode(latents, model, reporter=Listener(stop_after=4))  # all was done already
    assert probe_video(tmp_path / "out.mp4").num_frames == 60 and not part.exists()


def test_damage_and_nan_leave_what_was_there(model: Path, tmp_path: Path) -> None:
    latents = make_latents(model, tmp_path)
    out = tmp_path / "out.mp4"
    out.write_text("precious")
    whole = latents.read_bytes()
    flipped = bytearray(whole)
    flipped[-10] ^= 1
    bad = write_vae(tmp_path / "bad", nan="decoder.head.conv.weight")
    for content, vae, problem, said in (
        (bytes(flipped), model, ArtifactError, "not those that were written"),
        (whole[:-4] + b"\x00\x00\xc0\x7f", model, NumericsError, "its latents are not finite"),
        (
            whole.replace(load_vae(model)[1].vae_hash.encode(), load_vae(bad)[1].vae_hash.encode()),
            bad,
            NumericsError,
            "",
        ),
    ):
        latents.write_bytes(content)
        with pytest.raises(problem, match=said or "the VAE's decoder gave numbers that are not finite"):
            decode(latents, vae, overwrite=True)
        assert out.read_text() == "precious"
        assert not list(tmp_path.glob("*.part*"))


def test_another_vae_is_named(model: Path, tmp_path: Path) -> None:
    latents = make_latents(model, tmp_path)
    other = write_vae(tmp_path / "other", latent_channels=4, patch_size=4)
    one, two = (load_vae(folder)[1].vae_hash[:12] for folder in (model, other))
    with pytest.raises(ArtifactError) as caught:
        decode(latents, other)
    assert str(caught.value) == (
        f"{latents} holds latents of VAE {one} (4 channels at 4x8x8), but {other} holds VAE {two} "
        "(4 channels at 4x16x16): name the one that made them with --model"
    )
    twin = write_vae(tmp_path / "twin")
    config = json.loads((twin / "config.json").read_text())
    config["latents"]["std"][0] *= 2
    (twin / "config.json").write_text(json.dumps(config))
    with pytest.raises(
        ArtifactError, match=r"are of VAE .*, but the std of its latents differ: encode the video again"
    ):
        decode(latents, twin)
    assert sorted(path.name for path in tmp_path.glob("*.mp4")) == []
