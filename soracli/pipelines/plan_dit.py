"""``sora dit train --dry-run``: what a training would do, checked and counted without doing it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from soracli.data.latent_samples import LatentSampler
from soracli.data.latents import LatentCache
from soracli.models.dit import DiT
from soracli.models.layers.run_attention import plan_runs
from soracli.models.text_encoder import TextEncoder
from soracli.models.text_frozen import open_frozen
from soracli.models.tokens import TEXT, Tokens, pack_tokens, without_text
from soracli.pipelines.dit_adapter import check_adapters
from soracli.pipelines.dit_batch import draw_sample
from soracli.pipelines.dit_memory import TrainingMemory, count_memory
from soracli.pipelines.dit_packing import plan_sequences
from soracli.pipelines.dit_start import check_patch, check_vae, learn_tokenizer, load_start
from soracli.pipelines.recipes import DitTrainRecipe
from soracli.training.device import choose_device, product_dtype
from soracli.training.ranks import rank_place
from soracli.training.seeding import generator_for

_SAMPLES = 64


@dataclass(frozen=True, kw_only=True)
class DitPlan:
    """What a training of a DiT would be.

    Attributes:
        dit_parameters: Numbers that the DiT learns.
        text_parameters: Numbers that the text encoder learns.
        frozen: Name of the frozen text encoder beside it, its width and where it was found; None if there is none.
        latents: The cache.
        entries: Videos and images in it.
        video_tokens: Of a sample, on average, clean and noisy together.
        text_tokens: Of a sample, on average.
        steps: Steps in all.
        batch_size: Samples in a step; with ``samples.max_tokens`` about, on average.
        padding: Share of the places of sequences of ``samples.max_tokens`` that stay empty; 0 without.
        left_out: Share of samples that are longer than such a sequence.
        flops: Floating-point operations of a step, about: matrix products, forward (more often with self-conditioning)
            and twice that back (once for adapters), and once more where activations are computed again; and what makes
            the targets of few-step models.
        memory: What it needs on one device, if that has the whole batch.
        num_slices: Ranks that hold the weights between them then, one of which that device is; with ``shard_ranks = 0``
            the ranks there are.
        device: Where it would compute.
        out: The run folder.
        resumes: Whether that folder holds a run already, which would go on.
    """

    dit_parameters: int
    text_parameters: int
    frozen: str | None
    latents: str
    entries: int
    video_tokens: float
    text_tokens: float
    steps: int
    batch_size: int
    padding: float
    left_out: float
    flops: float
    memory: TrainingMemory
    num_slices: int
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
    # A hub's weights may be gigabytes: only a training that begins from a model has them read here.
    frozen = open_frozen(recipe.text, fetch=True, weights=init is not None)
    start = load_start(init, cache, recipe, frozen)
    check_vae(cache, vae)
    check_patch(cache, recipe)
    sampler = LatentSampler(cache, recipe.samples, recipe.caption)
    model = check_adapters(recipe, init, cache.spec.channels, frozen)
    dit, text = model.dit, model.text
    tokenizer = learn_tokenizer(cache, recipe, frozen) if start is None else start.tokenizer
    drawn = [
        draw_sample(sampler, tokenizer, recipe, generator_for(recipe.loop.seed, "plan", number))[0]
        for number in range(_SAMPLES)
    ]
    tokens = pack_tokens(drawn, recipe.dit.patch_size, cache.spec.compression[1:])
    num_text = int((tokens.kind == TEXT).sum())
    batch_size, padding, left_out = recipe.samples.batch_size, 0.0, 0.0
    if recipe.samples.max_tokens:
        plan = plan_sequences(sampler, tokenizer, recipe, recipe.samples.images_first)
        batch_size, padding = round(len(plan.lengths) / len(plan.steps)), plan.padding
        left_out = len(plan.left_out) / (len(plan.left_out) + len(plan.lengths))
    inside = len(tokens.kind) - (num_text if recipe.dit.text == "cross" else 0)
    shares = batch_size / _SAMPLES
    # Weights that do not learn need no gradient of their own.
    passes = (2 if recipe.lora.rank else 3) + recipe.checkpoint_activations + recipe.flow.self_conditioning
    passes += recipe.teacher_passes
    found = rank_place(os.environ)
    num_slices = recipe.shard_ranks or (found.size if found else 1)
    return DitPlan(
        dit_parameters=_count(dit),
        text_parameters=_count(text),
        frozen=None if frozen is None else f"{frozen.files.name}, {frozen.width} wide, in {frozen.files.folder}",
        latents=str(latents),
        entries=len(cache.entries),
        video_tokens=(len(tokens.kind) - num_text) / _SAMPLES,
        text_tokens=num_text / _SAMPLES,
        steps=recipe.loop.steps,
        batch_size=batch_size,
        padding=padding,
        left_out=left_out,
        flops=passes * forward_flops(dit, text, tokens, num_text) * shares,
        memory=count_memory(
            nn.ModuleDict({"dit": dit, "text": text}),
            recipe,
            inside * shares,
            half=product_dtype(recipe.loop.precision, place) == torch.bfloat16,
            num_slices=num_slices,
        ),
        num_slices=num_slices,
        device=str(place),
        out=str(out),
        resumes=(out / "run.json").exists(),
    )


def forward_flops(dit: DiT, text: TextEncoder, tokens: Tokens, num_text: int) -> float:
    """Floating-point operations of the matrix products of one pass, two a multiplication.

    Of attention within segments what is computed on a CPU: what is seen, and a little that fills up its products.

    Args:
        dit: The transformer; may be on the meta device.
        text: The text encoder, whose attention is too small to count.
        tokens: A packed sequence.
        num_text: Tokens of text in it.
    """
    rows, wanted, dim = len(tokens.conditions), len(tokens.wanted), dit.config.hidden_size
    crosses = dit.config.text == "cross"
    inside = without_text(tokens) if crosses else tokens
    total = 0
    for name, layer in dit.named_modules():
        if isinstance(layer, nn.Linear):
            # Conditions are computed once a latent frame, the last layer for what is predicted, the rest for all.
            by_row = "modulation" in name or name.startswith(("shared", "time", "step", "guidance"))
            by_text = name == "text_embed" or name.endswith("cross.key_value")
            by_patch = len(tokens.patches) if name == "patch_embed" else len(inside.kind)
            count = rows if by_row else num_text if by_text else wanted if name == "final" else by_patch
            total += 2 * layer.weight.numel() * count
    whole = sum(count * queries * keys for count, queries, keys in plan_runs(inside.segments).sizes)
    pairs = sum(whole if part is None else sum(group.pairs for group in part) for part in dit.windows(inside))
    if crosses:
        both = zip(inside.segments, tokens.text_lengths, strict=True)
        pairs += len(dit.blocks) * sum(segment.length * count for segment, count in both)
    total += 4 * pairs * dim
    return total + 2 * num_text * sum(layer.weight.numel() for layer in text.modules() if isinstance(layer, nn.Linear))


def _count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)
