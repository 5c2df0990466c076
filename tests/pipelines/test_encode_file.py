"""Latents of a file against those of its frames; every kind of input; stops and NaN that leave nothing behind."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

import soracli
from soracli.core.errors import DataError, NumericsError, Stopped, UsageError
from soracli.core.files import sha256_file
from soracli.data.latents_file import read_latents_record
from soracli.data.video_read import read_frames
from soracli.models.codec import encode_video
from soracli.models.store import load_vae
from soracli.pipelines import encode_file as module
from soracli.pipelines.encode_file import encode_file
from tests.data.media import make_video
from tests.pipelines.files import Listener, write_vae

CPU = torch.device("cpu")
LOSSLESS = ("-c:v", "png", "-pix_fmt", "rgb24")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_vae(tmp_path_factory.mktemp("model"))


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "set_threads", lambda count: count)


def latents_of(video: Path, model: Path, **given: Any) -> torch.Tensor:
    out = video.with_suffix(".safetensors")
    assert encode_file(video, model=model, out=out, device="cpu", overwrite=True, **given) == out
    return load_file(out)["latents"]


def expected_of(frames: np.ndarray, model: Path, **given: Any) -> torch.Tensor:
    """With what does not fill a latent filled by hand."""
    vae, spec = load_vae(model)
    count, height, width = frames.shape[:3]
    last, bottom, right = -(count - 1) % 4, -height % 8, -width % 8
    frames = np.concatenate([frames, *[frames[-1:]] * last])
    frames = np.concatenate([frames, *[frames[:, -1:]] * bottom], 1)
    frames = np.concatenate([frames, *[frames[:, :, -1:]] * right], 2)
    return encode_video(vae, spec, torch.from_numpy(frames), CPU, **given)


@pytest.mark.parametrize("num_frames", [1, 2, 5, 17])
def test_a_file_is_its_frames(model: Path, tmp_path: Path, num_frames: int) -> None:
    video = make_video(
        tmp_path / "ä b.mkv", f"testsrc2=s=33x21:r=24,format=gbrp,trim=end_frame={num_frames}", *LOSSLESS
    )
    frames = read_frames(video)
    assert frames.shape == (num_frames, 21, 33, 3)
    listener = Listener()
    latents = latents_of(video, model, reporter=listener)
    assert latents.shape == (4, 1 + -(-(num_frames - 1) // 4), 3, 5)
    assert torch.equal(latents, expected_of(frames, model))
    assert listener.frames == listener.total == num_frames and not listener.notes
    record = read_latents_record(video.with_suffix(".safetensors"))
    assert (record.num_frames, record.height, record.width, record.fps) == (num_frames, 21, 33, Fraction(24))
    assert record.padding == (-(num_frames - 1) % 4, 3, 7)
    assert record.spec == load_vae(model)[1]
    assert record.made == {
        "source": "ä b.mkv",
        "source_sha256": sha256_file(video),
        "background": "#ffffff",
        "chunk_frames": 16,
        "tile": None,
        "tile_overlap": None,
        "sora": soracli.__version__,
    }
    assert sorted(file.name for file in tmp_path.iterdir()) == ["ä b.mkv", "ä b.safetensors"]


def test_frames_at_once(model: Path, tmp_path: Path) -> None:
    """The number decides the order of sums and nothing else; the file says which it was."""
    video = make_video(tmp_path / "a.mkv", "testsrc2=s=24x16:r=12:d=2", *LOSSLESS)
    frames = read_frames(video)
    for given, block in ((1, 1), (4, 1), (11, 2), (12, 3), (1000, 250)):
        latents = latents_of(video, model, chunk_frames=given)
        assert torch.equal(latents, expected_of(frames, model, block_latents=block))
        torch.testing.assert_close(latents, expected_of(frames, model), atol=1e-4, rtol=1e-4)
        assert read_latents_record(tmp_path / "a.safetensors").made["chunk_frames"] == 4 * block


def test_half_the_space(model: Path, tmp_path: Path) -> None:
    video = make_video(tmp_path / "a.mkv", "testsrc2=s=24x16:r=12:d=0.5", *LOSSLESS)
    latents = latents_of(video, model, dtype="float16")
    assert torch.equal(latents, expected_of(read_frames(video), model).half())


@pytest.mark.parametrize("size", ["1x1", "1x9", "8x8", "7x17"])
def test_any_size(model: Path, tmp_path: Path, size: str) -> None:
    video = make_video(tmp_path / "a.mkv", f"color=c=0x14b4dc:s={size}:r=4:d=1", *LOSSLESS)
    frames = read_frames(video)
    assert frames.shape[2:0:-1] == tuple(map(int, size.split("x")))
    assert torch.equal(latents_of(video, model), expected_of(frames, model))


def test_ten_bit_and_grey(model: Path, tmp_path: Path) -> None:
    """As the same pictures in 8-bit colours, but for rounding."""
    kinds = {"flat": "yuv444p", "deep": "yuv444p10le", "grey": "gray", "deep_grey": "gray10le"}
    videos = {
        name: make_video(tmp_path / f"{name}.mkv", "testsrc2=s=33x21:r=4:d=1", "-c:v", "ffv1", "-pix_fmt", pixels)
        for name, pixels in kinds.items()
    }
    found = {name: latents_of(video, model) for name, video in videos.items()}
    for name, video in videos.items():
        assert torch.equal(found[name], expected_of(read_frames(video), model))
    assert float((found["deep"] - found["flat"]).abs().mean()) < 0.05
    assert float((found["deep_grey"] - found["grey"]).abs().mean()) < 0.05
    assert float((found["grey"] - found["flat"]).abs().mean()) > 0.1


def test_what_is_transparent_shows_the_background(model: Path, tmp_path: Path) -> None:
    clear, solid = tmp_path / "clear.png", tmp_path / "solid.png"
    Image.new("RGBA", (10, 9), (255, 0, 0, 0)).save(clear)
    for colour in ((255, 255, 255), (20, 180, 220)):
        Image.new("RGB", (10, 9), colour).save(solid)
        assert torch.equal(latents_of(clear, model, background=colour), latents_of(solid, model))
    assert read_latents_record(clear.with_suffix(".safetensors")).made["background"] == "#14b4dc"
    half = "color=c=red:s=32x32:r=4:d=1,format=rgba,geq=r=255:g=0:b=0:a='if(lt(X,16),255,0)'"
    video = make_video(tmp_path / "a.mov", half, "-c:v", "qtrle", "-pix_fmt", "argb")
    frames = read_frames(video, background=(255, 255, 255))
    assert frames[0, 0, -1].tolist() == [255, 255, 255] and frames[0, 0, 0].tolist() == [255, 0, 0]
    assert torch.equal(latents_of(video, model), expected_of(frames, model))


def test_a_variable_rate_is_said(model: Path, tmp_path: Path) -> None:
    held = "testsrc2=s=24x16:r=24:d=1,setpts='(N+floor(N/10)*3)/24/TB'"
    video = make_video(tmp_path / "a.mp4", held, "-fps_mode", "vfr", "-pix_fmt", "yuv420p")
    listener = Listener()
    latents = latents_of(video, model, reporter=listener)
    assert listener.notes == ["a.mp4 has a variable frame rate; it is read at 24 frames a second"]
    record = read_latents_record(tmp_path / "a.safetensors")
    assert record.num_frames == len(read_frames(video)) > 24 and record.fps == 24
    assert torch.equal(latents, expected_of(read_frames(video), model))


def test_rates_are_fractions(model: Path, tmp_path: Path) -> None:
    video = make_video(tmp_path / "a.mkv", "testsrc2=s=16x16:r=30000/1001:d=0.2", *LOSSLESS)
    latents_of(video, model)
    assert read_latents_record(tmp_path / "a.safetensors").fps == Fraction(30000, 1001)


def test_tiles_are_the_whole_frame_and_smaller_overlaps_say_their_error(model: Path, tmp_path: Path) -> None:
    video = make_video(tmp_path / "a.mkv", "testsrc2=s=125x150:r=8:d=1,format=gbrp", *LOSSLESS)
    whole = latents_of(video, model)
    listener = Listener()
    exact = latents_of(video, model, tile=96, reporter=listener)
    assert listener.notes == ["encoding in 4x5 tiles of up to 96 pixels, overlapping by 32, exact but for rounding"]
    torch.testing.assert_close(exact, whole, atol=1e-5, rtol=1e-5)
    made = read_latents_record(tmp_path / "a.safetensors").made
    assert (made["tile"], made["tile_overlap"]) == (96, 32)
    listener = Listener()
    rough = latents_of(video, model, tile=64, tile_overlap=5, reporter=listener)
    first, second = listener.notes
    assert first == "encoding in 3x4 tiles of up to 64 pixels, overlapping by 8, of the 32 that would be exact"
    head, _, end = second.partition(" by ")
    assert head.startswith("where tiles meet in the first frames, latents (of deviation 1) differ")
    rms, largest = (float(word) for word in end.replace(" rms", "").removesuffix(" at most").split(", "))
    assert 1e-5 < rms < largest < 2 * float((rough - whole).abs().max())


def test_a_stop_leaves_nothing(model: Path, tmp_path: Path) -> None:
    video = make_video(tmp_path / "a.mkv", "testsrc2=s=16x16:r=12:d=5", *LOSSLESS)
    with pytest.raises(Stopped, match=r"^SIGINT: 29 of 60 frames were encoded and nothing is kept; run the same"):
        latents_of(video, model, reporter=Listener(stop_after=2))
    assert list(tmp_path.iterdir()) == [video]
    assert latents_of(video, model, reporter=Listener(stop_after=4)).shape[1] == 16  # all was done already


@pytest.mark.parametrize("weight", ["encoder.stem.conv.weight", "encoder.head.conv.bias"])
def test_nan_leaves_what_was_there(tmp_path: Path, weight: str) -> None:
    video = make_video(tmp_path / "a.mkv", "testsrc2=s=16x16:r=12:d=1", *LOSSLESS)
    out = tmp_path / "a.safetensors"
    out.write_text("precious")
    with pytest.raises(NumericsError, match="the VAE's encoder gave numbers that are not finite"):
        latents_of(video, write_vae(tmp_path / "vae", nan=weight))
    assert out.read_text() == "precious"
    assert not list(tmp_path.glob("*.part*"))


def test_what_cannot_be_encoded(model: Path, tmp_path: Path) -> None:
    video = make_video(tmp_path / "a.mkv", "testsrc2=s=16x16:r=12:d=1", *LOSSLESS)
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(video.read_bytes()[: video.stat().st_size // 2])
    empty, text = tmp_path / "empty.mp4", tmp_path / "text.mp4"
    empty.touch()
    text.write_text("no video")
    for path, said in ((cut, "cut off or damaged"), (empty, "empty"), (text, "not a video"), (tmp_path, "directory")):
        with pytest.raises(DataError, match=said):
            encode_file(path, model=model, out=tmp_path / "x.safetensors", device="cpu")
    with pytest.raises(UsageError, match="is the video itself"):
        encode_file(video, model=model, out=video, overwrite=True)
    with pytest.raises(UsageError, match=r"not stored as 'float61'; did you mean float16\? \(float32, float16\)"):
        encode_file(video, model=model, out=tmp_path / "x.safetensors", dtype="float61")
    assert not list(tmp_path.glob("*.safetensors"))
