"""A VAE that begins with a linear code is that code before its first step."""

from __future__ import annotations

import torch

from soracli.data.config import FramesConfig, FrameShape
from soracli.data.frame_pool import FramePool
from soracli.metrics.linear_code import fit_linear_code
from soracli.models.video_vae import VideoVAE
from soracli.pipelines import linear_start
from soracli.pipelines.linear_start import set_linear_code
from soracli.pipelines.recipes import VaeTrainRecipe
from soracli.training.seeding import generator_for
from tests.models.tiny import VAE, random_frames

FRAMES = FramesConfig(
    shapes=(FrameShape(num_frames=9, crop=16, batch_size=1),), world_scenes=2, height=16, width=16, crop_candidates=1
)


def test_it_decodes_as_the_best_linear_code(monkeypatch):
    monkeypatch.setattr(linear_start, "_SAMPLES", 6)
    recipe = VaeTrainRecipe(vae=VAE.model_copy(update={"linear_code": True}), frames=FRAMES)
    pool = FramePool(FRAMES, None)
    vae = VideoVAE(recipe.vae).eval()
    set_linear_code(vae, pool, recipe)

    clips = [pool.sample(generator_for(recipe.loop.seed, "linear code", index), 9, 16) for index in range(6)]
    code = fit_linear_code(clips, (4, 8, 8), 4)
    frames = random_frames(1, 3, 9, 24, 16)
    with torch.no_grad():
        mean, log_variance, _ = vae.encode(frames)
        decoded = vae.decode(mean)[0]
    torch.testing.assert_close(decoded, code.decode(code.encode(frames)), atol=1e-4, rtol=1e-4)
    assert float(log_variance.max()) < -5

    with torch.no_grad():
        latents = torch.cat([vae.encode(clip[None])[0][0, :, 1:].flatten(1) for clip in clips], 1)
    torch.testing.assert_close(latents.mean(1), torch.zeros(4), atol=1e-3, rtol=0)
    torch.testing.assert_close(latents.std(1), torch.ones(4), atol=1e-3, rtol=0)


def test_it_is_not_trained():
    vae = VideoVAE(VAE.model_copy(update={"linear_code": True}))
    assert not [name for name, _ in vae.named_parameters() if "linear" in name]
    assert len([name for name in vae.state_dict() if ".linear." in name]) == 8
