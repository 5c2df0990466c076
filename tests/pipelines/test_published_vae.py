"""A published VAE all the way: latents of the world, a DiT on them, videos of it, figures."""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path

import pytest
import torch

from soracli.core.errors import ArtifactError
from soracli.core.progress import SilentReporter
from soracli.data.config import WorldLatentsConfig
from soracli.data.latents import LatentCache
from soracli.data.video_read import read_frames
from soracli.data.world.clips import world_frames
from soracli.models.codec import to_frames, to_pixels
from soracli.models.generator import load_generator
from soracli.models.store import load_vae
from soracli.pipelines import clip_sources, dit_step, sample_clips
from soracli.pipelines import generate as generation
from soracli.pipelines.cache_latents import cache_latents
from soracli.pipelines.describe_model import describe_model
from soracli.pipelines.evaluate_vae import evaluate_vae
from soracli.pipelines.generate import generate
from soracli.pipelines.recipes import LatentsCacheRecipe
from soracli.pipelines.train_dit import train_dit
from tests.models.published import published_module, write_published
from tests.pipelines.runs import dit_recipe

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("diffusers") is None, reason="diffusers is not installed: pip install -e '.[dev]'"
)


class Notes(SilentReporter):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.mark.parametrize(("name", "side", "seconds"), [("wan", 32, 2.2), ("ltx", 64, 3.2)])
def test_from_clips_to_videos(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, name: str, side: int, seconds: float
) -> None:
    """Wan streams, LTX does not."""
    monkeypatch.setattr(dit_step, "_VALIDATION_SAMPLES", 2)
    monkeypatch.setattr(generation, "set_threads", lambda count: count)
    module = write_published(workspace / "published", name)
    shutil.copytree("published", "pipeline/vae")  # as whole models of diffusers are laid out
    world = WorldLatentsConfig(videos=2, images=1, seconds=seconds, fps=8, height=side, width=side, captions=2)
    recipe = LatentsCacheRecipe(world=world)
    cache = LatentCache(cache_latents(recipe, vae=Path("pipeline"), clips=None, out=Path("latents"), device="cpu"))

    spec = load_vae(Path("published"))[1]
    assert cache.spec == spec
    num_frames = spec.video_frames(cache.entries[0].shape[1])
    frames, _ = world_frames(11, 0, num_frames=num_frames, fps=8, height=side, width=side)
    with torch.inference_mode():
        raw = module.encode(frames.permute(3, 0, 1, 2)[None] / 127.5 - 1).latent_dist.mean[0]
    mean, std = (torch.tensor(values).view(-1, 1, 1, 1) for values in (spec.mean, spec.std))
    torch.testing.assert_close(cache.latents(cache.entries[0]), (raw - mean) / std, atol=2e-3, rtol=2e-3)

    run = train_dit(
        dit_recipe("loop.steps=2", "loop.sample_every=2", "samples.latent_frames=[2, 3]"),
        latents=Path("latents"),
        vae=Path("published"),
        out=Path("run"),
        device="cpu",
    )
    shutil.rmtree("published")
    shutil.rmtree("pipeline")
    assert load_generator(run).spec == spec
    parts = {part.kind: part for part in describe_model(run).parts}
    assert parts["vae"].parameters == sum(tensor.numel() for tensor in module.state_dict().values())
    assert parts["vae"].hash == spec.vae_hash

    reporter = Notes()
    (video,) = generate(
        "a red ball", model=run, seconds=2, seed=1, num_steps=1, out=Path("a.mp4"), device="cpu", reporter=reporter
    )
    assert read_frames(video).shape == (16, side, side, 3)
    assert any("decodes a video whole" in note for note in reporter.notes) == (name == "ltx")


def test_figures_of_a_published_vae(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for constant, value in (("SIDE", 32), ("NUM_FRAMES", 5)):
        monkeypatch.setattr(sample_clips, constant, value)
    monkeypatch.setattr(clip_sources, "TRAINING_CLIPS", 3)
    module = write_published(workspace / "wan")
    report = evaluate_vae(Path("wan"), world=1, device="cpu")
    assert (report.channels, report.compression) == (4, (4, 8, 8))
    frames, _ = world_frames(clip_sources.WORLD_SEEDS, 0, num_frames=5, fps=12, height=32, width=32, split="held_out")
    floats = to_frames(frames)
    with torch.inference_mode():
        decoded = to_pixels(module(floats).sample)
    error = (decoded.float() - frames.float()).div(255).square().mean()
    assert report.sets[0].vae.psnr == pytest.approx(float(-10 * error.log10()), abs=1e-3)


def test_a_foreign_folder_is_no_model(workspace: Path) -> None:
    published_module("wan").save_pretrained("wan")
    with pytest.raises(ArtifactError, match=r"wan holds a published AutoencoderKLWan: --vae takes it"):
        describe_model(Path("wan"))
    record = json.loads(Path("wan/config.json").read_text())
    Path("wan/config.json").write_text(json.dumps({**record, "_class_name": "WanTransformer3DModel"}))
    with pytest.raises(ArtifactError, match="holds a WanTransformer3DModel; of diffusers' models AutoencoderKLWan, "):
        describe_model(Path("wan"))
