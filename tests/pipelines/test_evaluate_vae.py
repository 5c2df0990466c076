"""Evaluation of a VAE: figures against a second computation here, masks, the picture, and what is refused."""

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from soracli.core.errors import ArtifactError, DataError, NumericsError, UsageError
from soracli.data.manifest import Clip, clip_id_of, write_manifest
from soracli.data.world.clips import world_frames
from soracli.models.config import VAEConfig
from soracli.models.store import load_vae, save_vae
from soracli.models.video_vae import VideoVAE
from soracli.pipelines import sample_clips
from soracli.pipelines.evaluate_vae import VaeReport, as_bytes, as_floats, evaluate_vae
from soracli.pipelines.sample_clips import WORLD_SEEDS, Excerpt, manifest_clips

CONFIG = VAEConfig(
    latent_channels=6, patch_size=4, widths=(4, 6), temporal_strides=(2,), encoder_blocks=(1, 1), decoder_blocks=(1, 1)
)


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sample_clips, "SIDE", 32)
    monkeypatch.setattr(sample_clips, "NUM_FRAMES", 5)
    monkeypatch.setattr(sample_clips, "TRAINING_CLIPS", 3)


@pytest.fixture
def model(workspace: Path) -> Path:
    save_vae(workspace / "model/vae", VideoVAE(CONFIG), torch.zeros(6), torch.ones(6), {})
    return workspace


def _emoji(folder: Path, name: str, num_frames: int, hue: int) -> Path:
    """An animated picture with a disc that moves over nothing."""
    pictures = []
    for k in range(num_frames):
        rgba = np.zeros((40, 40, 4), np.uint8)
        down, across = np.mgrid[:40, :40]
        rgba[..., :3] = (hue, 255 - hue, 40)
        rgba[..., 3] = 255 * ((down - 20) ** 2 + (across - 12 - k) ** 2 < 80)
        pictures.append(Image.fromarray(rgba))
    path = folder / name
    if num_frames == 1:
        pictures[0].save(path)
    else:
        pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=80, lossless=True)
    return path


def _clip(name: str, split: str, num_frames: int) -> Clip:
    return Clip(
        path=name,
        start=0.0,
        num_frames=num_frames,
        fps=12.5,
        height=40,
        width=40,
        seconds=num_frames / 12.5,
        caption="",
        sha256="0" * 64,
        clip_id=clip_id_of(name, 0, num_frames, 12.5),
        kind="animation" if num_frames > 1 else "image",
        split=split,  # type: ignore[arg-type]
        original_name=name,
    )


@pytest.fixture
def manifest(workspace: Path) -> Path:
    clips = []
    for name, split, num_frames in (
        ("a.webp", "train", 8),
        ("b.webp", "train", 8),
        ("c.png", "train", 1),
        ("d.webp", "validation", 8),
        ("e.webp", "validation", 4),
        ("f.png", "validation", 1),
    ):
        _emoji(workspace, name, num_frames, 30 * ord(name[0]) % 255)
        clips.append(_clip(name, split, num_frames))
    write_manifest(workspace / "clips.jsonl", clips, {})
    return workspace / "clips.jsonl"


def _naive_psnr(decoded: np.ndarray, frames: np.ndarray, inside: np.ndarray) -> float:
    error = (decoded.astype(float) - frames.astype(float))[inside]
    return float(10 * np.log10(255**2 / np.square(error).mean()))


def test_world_figures_equal_a_second_computation(model: Path) -> None:
    report = evaluate_vae(model, world=3, seed=4, device="cpu")
    vae, _ = load_vae(model)
    whole, inside = [], []
    for index in range(3):
        frames, shown = world_frames(
            WORLD_SEEDS + 4, index, num_frames=5, fps=12, height=32, width=32, split="held_out"
        )
        mean = vae.encode(frames.permute(3, 0, 1, 2)[None] / 127.5 - 1)[0]
        decoded = np.rint((vae.decode(mean)[0][0].clamp(-1, 1).numpy() + 1) * 127.5).transpose(1, 2, 3, 0)
        whole.append(_naive_psnr(decoded, frames.numpy(), np.ones((5, 32, 32), bool)))
        assert (shown[:, 8:-8, 8:-8] >= 0).any()
        inside.append(_naive_psnr(decoded, frames.numpy(), shown.numpy() >= 0))
    (found,) = report.sets
    assert (found.name, found.num_clips, found.num_training_clips) == ("world", 3, 3)
    assert found.vae.psnr == pytest.approx(np.mean(whole), abs=1e-3)
    assert found.num_masked == 3
    assert found.vae.psnr_objects == pytest.approx(np.mean(inside), abs=1e-3)
    assert found.linear_code.psnr > found.vae.psnr + 5  # a VAE that has learnt nothing
    assert "1000004" in found.protocol and "held-out" in found.protocol and "means over clips" in report.protocol
    assert (report.channels, report.compression, report.ratio) == (6, (2, 8, 8), 64)


def test_clips_of_a_manifest(model: Path, manifest: Path) -> None:
    report = evaluate_vae(model / "model/vae", clips=manifest, device="cpu", picture=Path("side.png"))
    (found,) = report.sets
    assert (found.name, found.num_clips, found.num_masked, found.num_training_clips) == ("clips", 3, 3, 3)
    assert found.linear_code.psnr_objects is not None and found.linear_code.ssim_objects is not None
    assert json.loads(json.dumps(asdict(report)))["picture"] == "side.png"
    with Image.open("side.png") as picture:
        assert picture.height > 12 * 128  # three clips of four rows


def test_the_same_seed_gives_the_same_report(model: Path, manifest: Path) -> None:
    def run(seed: int) -> VaeReport:
        return evaluate_vae(model, clips=manifest, world=2, seed=seed, device="cpu")

    first = run(0)
    assert run(0) == first
    assert [found.vae.psnr for found in run(1).sets] != [found.vae.psnr for found in first.sets]


def test_excerpts_are_as_long_as_clips_allow_and_masks_follow_alpha(manifest: Path) -> None:
    source = sample_clips.manifest_source(manifest, 0, Excerpt(num_frames=5, step=2, height=32, width=32, fps=12))
    clips = {clip.name: clip for clip in source.held_out()}
    assert {name: len(clip.frames) for name, clip in clips.items()} == {"d.webp": 5, "e.webp": 3, "f.png": 1}
    mask = clips["f.png"].mask
    assert mask is not None and mask[0, 16, 10] and not mask[0, 2, 2]
    assert clips["f.png"].frames[0][mask[0]].float().std(0).max() < 30  # one colour inside the disc


def test_an_opaque_clip_has_no_mask(workspace: Path) -> None:
    Image.fromarray(np.full((40, 40, 3), 90, np.uint8)).save(workspace / "g.png")
    write_manifest(workspace / "clips.jsonl", [_clip("g.png", "validation", 1)], {})
    excerpt = Excerpt(num_frames=5, step=2, height=32, width=32, fps=12)
    manifest = sample_clips.read_manifest(workspace / "clips.jsonl")
    (clip,) = manifest_clips(manifest, manifest.clips, 0, excerpt)
    assert clip.mask is None and bool((clip.frames == 90).all())


def test_bytes_and_floats_go_back_and_forth() -> None:
    frames = torch.randint(0, 256, (3, 4, 5, 3), dtype=torch.uint8)
    assert as_bytes(as_floats(frames)).equal(frames)
    assert as_floats(frames).shape == (1, 3, 3, 4, 5)


def test_what_is_refused(model: Path, manifest: Path) -> None:
    with pytest.raises(UsageError, match="nothing to evaluate on"):
        evaluate_vae(model)
    with pytest.raises(UsageError, match=r"try x\.png"):
        evaluate_vae(model, world=1, picture=Path("x.jpg"))
    with pytest.raises(ArtifactError, match="holds no vae"):
        evaluate_vae(model / "elsewhere", world=1)
    write_manifest(manifest, [_clip("a.webp", "train", 8)], {})
    with pytest.raises(DataError, match="no clip of the split 'validation'"):
        evaluate_vae(model, clips=manifest)
    broken = VideoVAE(CONFIG)
    torch.nn.init.constant_(broken.decoder.head.conv.bias, float("nan"))
    save_vae(model / "model/vae", broken, torch.zeros(6), torch.ones(6), {})
    with pytest.raises(NumericsError, match="NaN"):
        evaluate_vae(model, world=1, device="cpu")
