"""``sora dit train --dry-run``: what a training would do, checked and counted without doing it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from soracli.data.latent_samples import LatentSampler
from soracli.data.latents import LatentCache
from soracli.models.dit import DiT
from soracli.models.text_encoder import TextEncoder
from soracli.models.tokens import TEXT, Tokens, pack_tokens
from soracli.pipelines.dit_batch import draw_sample
from soracli.pipelines.dit_start import check_patch, check_vae, learn_tokenizer, load_start
from soracli.pipelines.recipes import DitTrainRecipe
from soracli.training.device import choose_device
from soracli.training.seeding import generator_for

_SAMPLES = 64


@dataclass(frozen=True, kw_only=True)
class DitPlan:
    """What a training of a DiT would be.

    Attributes:
        dit_parameters: Numbers that the DiT learns.
        text_parameters: Numbers that the text encoder learns.
        latents: The cache.
        entries: Videos and images in it.
        video_tokens: Of a sample, on average, clean and noisy together.
        text_tokens: Of a sample, on average.
        steps: Steps in all.
        batch_size: Samples in a step.
        flops: Floating-point operations of a step, about: matrix products, forward (more often with self-conditioning)
            and twice that back.
        device: Where it would compute.
        out: The run folder.
        resumes: Whether that folder holds a run already, which would go on.
    """

    dit_parameters: int
    text_parameters: int
    latents: str
    entries: int
    video_tokens: float
    text_tokens: float
    steps: int
    batch_size: int
    flops: float
    device: str
    out: str
    resumes: bool


def plan_dit(
    recipe: DitTrainRecipe, *, latents: Path, vae: Path, out: Path, init: Path | None = None, device: str = "auto"
) -> DitPlan:
    """Check what ``train_dit`` checks before it begins, and count on a few samples.

    Args:
        recipe: What to train.
        latents: A cache.
        vae: The VAE it was made with.
        out: The run folder; it is not touched.
        init: The model to begin from, if any.
        device: As ``--device``.

    Raises:
        SoraError: For anything that would stop the training at its start.
    """
    place = choose_device(device)
    cache = LatentCache(latents)
    start = load_start(init, cache, recipe)
    check_vae(cache, vae)
    check_patch(cache, recipe)
    sampler = LatentSampler(cache, recipe.samples)
    with torch.device("meta"):
        dit = DiT(recipe.dit, cache.spec.channels, recipe.text.hidden_size)
        text = TextEncoder(recipe.text)
    tokenizer = learn_tokenizer(cache, recipe) if start is None else start.tokenizer
    drawn = [
        draw_sample(sampler, tokenizer, recipe, generator_for(recipe.loop.seed, "plan", number))[0]
        for number in range(_SAMPLES)
    ]
    tokens = pack_tokens(drawn, recipe.dit.patch_size, cache.spec.compression[1:])
    num_text = int((tokens.kind == TEXT).sum())
    return DitPlan(
        dit_parameters=_count(dit),
        text_parameters=_count(text),
        latents=str(latents),
        entries=len(cache.entries),
        video_tokens=(len(tokens.kind) - num_text) / _SAMPLES,
        text_tokens=num_text / _SAMPLES,
        steps=recipe.loop.steps,
        batch_size=recipe.samples.batch_size,
        flops=(3 + recipe.flow.self_conditioning)
        * _forward_flops(dit, text, tokens, num_text)
        * recipe.samples.batch_size
        / _SAMPLES,
        device=str(place),
        out=str(out),
        resumes=(out / "run.json").exists(),
    )


def _forward_flops(dit: DiT, text: TextEncoder, tokens: Tokens, num_text: int) -> float:
    """Matrix products of one pass over the tokens; two operations a multiplication."""
    rows, wanted, dim = len(tokens.conditions), len(tokens.wanted), dit.config.hidden_size
    total = 0
    for name, layer in dit.named_modules():
        if isinstance(layer, nn.Linear):
            # Conditions are computed once a latent frame, the last layer for what is predicted, the rest for all.
            by_row = "modulation" in name or name.startswith(("shared", "time", "step", "guidance"))
            total += 2 * layer.weight.numel() * (rows if by_row else wanted if name == "final" else len(tokens.kind))
    pairs = sum(segment.length**2 for segment in tokens.segments)
    total += 4 * pairs * dim * len(dit.blocks)
    return total + 2 * num_text * sum(layer.weight.numel() for layer in text.modules() if isinstance(layer, nn.Linear))


def _count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
