"""Pictures of what a DiT makes while it trains: a row of frames for each of a few fixed prompts."""

from __future__ import annotations

from pathlib import Path

import torch

from soracli.data.image_write import write_contact_sheet
from soracli.diffusion.options import recommended_options
from soracli.models.codec import decode_stream
from soracli.models.generator import Generator
from soracli.pipelines.blocks import always, gap_blocks
from soracli.pipelines.rollout import roll_out

PROMPTS = (
    "a red ball bounces on green grass",
    "a large blue cube slides to the left on sand",
    "a small yellow cone on white snow and a purple ball, the camera orbits right",
    "a white ball rolls towards the camera on grey stone",
    "rocket",
    "panda",
)
_LATENT_FRAMES = 9


def show_samples(model: Generator, path: Path) -> None:
    """Write a contact sheet of ``PROMPTS`` at the model's defaults."""
    height, width = model.defaults["size"]
    rows = []
    for number, prompt in enumerate(PROMPTS):
        fps, options = model.defaults["fps"], recommended_options(model.defaults)
        blocks = roll_out(
            model,
            gap_blocks(model.spec, always(prompt), options, fps=fps, num_latents=_LATENT_FRAMES),
            latent_size=model.spec.latent_size(height, width),
            fps=fps,
            seed=number,
            options=options,
        )
        frames = torch.cat(list(decode_stream(model.vae, model.spec, blocks, model.device)))
        rows.append((prompt, frames.numpy()))
    path.parent.mkdir(parents=True, exist_ok=True)
    write_contact_sheet(path, rows)
