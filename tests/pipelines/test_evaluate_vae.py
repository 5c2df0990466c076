"""Evaluation of a VAE: figures against a second computation here, masks, the picture, and what is refused."""

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from soracli.core.errors import ArtifactError, DataError, NumericsError, UsageError
from soracli.data.manifest import write_manifest
from soracli.data.world.clips import world_frames
from soracli.metrics.latent_health import latent_health
from soracli.models.config import VAEConfig
from soracli.models.store import load_vae, save_vae
from soracli.models.video_vae import VideoVAE
from soracli.pipelines import clip_sources, sample_clips, vae_scores
from soracli.pipelines.clip_sources import WORLD_SEEDS
from soracli.pipelines.evaluate_vae import encode_and_decode, evaluate_vae
from soracli.pipelines.vae_report import VaeReport
from tests.data.media import make_video
from tests.pipelines.disc_clips import disc_clip

CONFIG = VAEConfig(
    latent_channels=6, patch_size=4, widths=(4, 6), temporal_strides=(2,), encoder_blocks=(1, 1), decoder_blocks=(1, 1)
)


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sample_clips, "SIDE", 32)
    monkeypatch.setattr(sample_clips, "NUM_FRAMES", 5)
    monkeypatch.setattr(clip_sources, "TRAINING_CLIPS", 3)
    monkeypatch.setattr(vae_scores, "find_feature_weights", lambda: None)  # its network is slow to load


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
        clips.append(disc_clip(name, split, num_frames))
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
    assert set(report.missing) == {"perceptual, Fréchet"} and found.vae.frechet is found.vae.perceptual is None
    assert found.vae.vmaf is not None and found.linear_code.vmaf is not None
    assert found.vae.vmaf < found.linear_code.vmaf


def test_latents_are_those_of_the_encoder(model: Path) -> None:
    mean, std = torch.arange(6) / 10, torch.arange(6) + 1.0
    save_vae(model / "model/vae", VideoVAE(CONFIG), mean, std, {})
    (found,) = evaluate_vae(model, world=2, device="cpu").sets
    vae, spec = load_vae(model)
    encoded = []
    for index in range(2):
        frames, _ = world_frames(WORLD_SEEDS, index, num_frames=5, fps=12, height=32, width=32, split="held_out")
        encoded.append(vae.encode(frames.permute(3, 0, 1, 2)[None] / 127.5 - 1)[:2])
    expected = latent_health([one[0][0] for one in encoded], [one[1][0].exp() for one in encoded], spec.mean, spec.std)
    assert asdict(found.latents) == {
        key: pytest.approx(value, nan_ok=True) if isinstance(value, float) else value
        for key, value in asdict(expected).items()
    }
    assert found.linear_latents.noise is None and found.linear_latents.effective_channels > 1


def test_clips_of_a_manifest(model: Path, manifest: Path, workspace: Path) -> None:
    report = evaluate_vae(model / "model/vae", clips=[manifest], device="cpu", picture=Path("side.png"))
    (found,) = report.sets
    assert (found.name, found.num_clips, found.num_masked, found.num_training_clips) == (workspace.name, 3, 3, 3)
    assert found.num_still == 2  # a picture has no next frame
    assert found.linear_code.psnr_objects is not None and found.linear_code.ssim_objects is not None
    assert json.loads(json.dumps(asdict(report)))["picture"] == "side.png"
    with Image.open("side.png") as picture:
        assert picture.height > 12 * 128  # three clips of four rows


def test_the_same_seed_gives_the_same_report(model: Path, manifest: Path) -> None:
    def run(seed: int) -> VaeReport:
        return evaluate_vae(model, clips=[manifest], world=2, seed=seed, device="cpu")

    first = run(0)
    assert run(0) == first
    assert [found.vae.psnr for found in run(1).sets] != [found.vae.psnr for found in first.sets]


def test_another_size(model: Path, manifest: Path) -> None:
    report = evaluate_vae(model, clips=[manifest], world=1, size=(40, 24), device="cpu")
    assert all("24x40" in found.protocol for found in report.sets)
    assert "VMAF" in report.missing and report.sets[0].vae.vmaf is None
    assert [len(found.latents.channels) for found in report.sets] == [6, 6]


def test_clips_without_training_ones_share_those_of_another(model: Path, manifest: Path, workspace: Path) -> None:
    make_video(workspace / "film.mp4", "testsrc2=s=64x48:r=12.5:d=0.64", "-pix_fmt", "yuv420p")
    write_manifest(workspace / "film.jsonl", [replace(disc_clip("film.mp4", "validation", 8), kind="video")], {})
    report = evaluate_vae(model, clips=[workspace / "film.jsonl", manifest], device="cpu")
    film, emoji = report.sets
    assert (film.name, emoji.name) == ("film", workspace.name)
    assert film.num_masked == 0 and film.vae.psnr_objects is None and film.vae.vmaf is not None
    assert str(manifest) in film.protocol and film.num_training_clips == emoji.num_training_clips == 3
    alone = evaluate_vae(model, clips=[manifest], device="cpu")
    assert alone.sets == (emoji,)


def test_what_comes_out_is_what_goes_in_for_a_code_without_loss() -> None:
    class Lossless(VideoVAE):
        def encode(self, frames: torch.Tensor, cache: Any = ()) -> Any:
            return frames, torch.full_like(frames, -torch.inf), cache

        def decode(self, latents: torch.Tensor, cache: Any = ()) -> Any:
            return latents, cache

    frames = torch.randint(0, 256, (3, 4, 5, 3), dtype=torch.uint8)
    mean, variance, decoded = encode_and_decode(Lossless(CONFIG), frames, torch.device("cpu"))
    assert decoded.equal(frames) and mean.shape == (3, 3, 4, 5) and bool((variance == 0).all())


def test_what_is_refused(model: Path, manifest: Path) -> None:
    with pytest.raises(UsageError, match="nothing to evaluate on"):
        evaluate_vae(model)
    with pytest.raises(UsageError, match=r"try x\.png"):
        evaluate_vae(model, world=1, picture=Path("x.jpg"))
    with pytest.raises(UsageError, match="the nearest is 16x8"):
        evaluate_vae(model, world=1, size=(10, 17))
    with pytest.raises(UsageError, match="8x16 are too small"):
        evaluate_vae(model, world=1, size=(16, 8))
    with pytest.raises(ArtifactError, match="holds no vae"):
        evaluate_vae(model / "elsewhere", world=1)
    write_manifest(manifest, [disc_clip("a.webp", "train", 8)], {})
    with pytest.raises(DataError, match="no clip of the split 'validation'"):
        evaluate_vae(model, clips=[manifest])
    broken = VideoVAE(CONFIG)
    torch.nn.init.constant_(broken.decoder.head.conv.bias, float("nan"))
    save_vae(model / "model/vae", broken, torch.zeros(6), torch.ones(6), {})
    with pytest.raises(NumericsError, match="NaN"):
        evaluate_vae(model, world=1, device="cpu")
