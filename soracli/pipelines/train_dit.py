"""``sora dit train``: cached latents in, a DiT with its text encoder out.

The loop, top to bottom: draw samples from (seed, step, sample), give each an order and noise, pack them into one
sequence, predict velocities, step, average; now and then log, measure on samples that stay the same, show samples,
save. The same call goes on where it stopped.
"""

from __future__ import annotations

import shutil
import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn

from soracli.core.errors import ArtifactError, Stopped, UsageError
from soracli.core.progress import Reporter, SilentReporter
from soracli.data.latent_samples import LatentSampler
from soracli.data.latents import LatentCache
from soracli.diffusion.config import SamplingConfig
from soracli.models.dit import DiT
from soracli.models.generator import Generator, load_generator, save_dit
from soracli.models.store import copy_vae, load_vae
from soracli.models.text_encoder import TextEncoder
from soracli.models.tokenizer import encode_text, train_tokenizer
from soracli.models.tokens import Sample, Tokens, pack_tokens, patchify
from soracli.pipelines.noising import noised_sample
from soracli.pipelines.recipes import DitTrainRecipe
from soracli.pipelines.training_samples import show_samples
from soracli.recipe.load import Loaded
from soracli.recipe.write import recipe_text
from soracli.training.config import COMPILE_MAY_CHANGE, is_due
from soracli.training.device import DTYPES, mixed_precision, product_dtype, set_threads
from soracli.training.distributed import (
    World,
    agree_on_stop,
    all_mean,
    average_gradients,
    on_main,
    open_world,
    share_of,
)
from soracli.training.ema import build_ema
from soracli.training.metrics_log import open_metrics
from soracli.training.optimiser import build_optimiser
from soracli.training.run_folder import RunFolder, open_run, write_stopped
from soracli.training.seeding import generator_for, seed_global
from soracli.training.signals import signal_name, stop_on_signals
from soracli.training.state import TrainState, load_train_state, save_train_state

_MAY_CHANGE = (*COMPILE_MAY_CHANGE, *(f"sampling.{key}" for key in SamplingConfig.model_fields))
"""The same command with other values of these goes on; on a finished run it only writes them into the model."""
_BANDS = 4
"""Bands of noise level that the loss is reported by."""
_VALIDATION_SAMPLES = 64
_PICTURES_PER_SAMPLE = 4


class DiTWithText(nn.Module):
    """The DiT and the text encoder that learns with it."""

    def __init__(self, dit: DiT, text: TextEncoder) -> None:
        super().__init__()
        self.dit = dit
        self.text = text

    def forward(self, tokens: Tokens) -> Tensor:
        """Velocities ``(Ln, P)`` of the wanted tokens."""
        velocities: Tensor = self.dit(tokens, self.text(tokens.text, tokens.text_lengths))[0]
        return velocities


def train_dit(
    loaded: Loaded[DitTrainRecipe],
    *,
    latents: Path,
    vae: Path,
    out: Path,
    init: Path | None = None,
    device: str = "auto",
    reporter: Reporter | None = None,
) -> Path:
    """Train a DiT, or go on with a run.

    Args:
        loaded: The recipe and the origin of its values.
        latents: A cache of ``sora latents cache``.
        vae: The VAE the cache was made with; it is put into the model.
        out: The run folder.
        init: A model to begin from, with its text encoder and tokens; None begins from nothing.
        device: As ``--device``.
        reporter: Who is told.

    Returns:
        ``out``; the whole model is in ``out/model``.

    Raises:
        Stopped: After a stop on request; everything is saved.
        SoraError: For anything a user can put right.
    """
    recipe, reporter = loaded.recipe, reporter or SilentReporter()
    with ExitStack() as stack:
        flag = stack.enter_context(stop_on_signals())
        world = stack.enter_context(open_world(device))
        set_threads(recipe.loop.num_threads)
        cache = LatentCache(latents)
        check_vae(cache, vae)
        check_patch(cache, recipe)
        sampler = LatentSampler(cache, recipe.samples)
        start = load_start(init, cache, recipe)
        resolved = {**recipe.model_dump(mode="json"), "latents": cache.content_hash}
        if start is not None:
            resolved["init"] = start.model_hash
        text = recipe_text(recipe, loaded.origins)
        on_main(lambda: bool(stack.enter_context(open_run(out, text, resolved, _MAY_CHANGE, reporter.note))), world)
        run = RunFolder(out, False)
        tokenizer = learn_tokenizer(cache, recipe) if start is None else start.tokenizer
        seed_global(recipe.loop.seed, "weights")
        model = DiTWithText(DiT(recipe.dit, cache.spec.channels, recipe.text.hidden_size), TextEncoder(recipe.text))
        if start is not None:
            model.load_state_dict(DiTWithText(start.dit, start.text).state_dict())
        model.to(world.device)
        optimiser = build_optimiser(
            model.named_parameters(),
            recipe.optimiser,
            ("*embed*", "final*"),
            product_dtype(recipe.loop.precision, world.device),
        )
        state = TrainState(model, build_ema(model, recipe.loop.ema_decay), optimiser)
        if recipe.compile:
            for block in model.dit.blocks:
                block.compile(dynamic=True)
        if load_train_state(run.checkpoints, state, reporter.note, world.device):
            reporter.note(f"going on with {out} after step {state.step}")

        metrics = stack.enter_context(
            open_metrics(
                run.metrics if world.is_main else None,
                state.step,
                out / "tensorboard" if recipe.loop.tensorboard else None,
            )
        )
        task = stack.enter_context(reporter.task("dit train", recipe.loop.steps, "step"))
        task.advance(state.step)
        while state.step < recipe.loop.steps:
            began = time.perf_counter()
            tokens, targets = _batch(sampler, tokenizer, recipe, state.step, world)
            figures = _learn(model, tokens.to(world.device), targets.to(world.device), recipe, state, world)
            state.step += 1
            rate = world.size * len(tokens.order) / (time.perf_counter() - began)
            task.advance(1, loss=figures["loss"], tokens_per_second=round(rate))
            if is_due(state.step, recipe.loop.log_every):
                metrics.write(state.step, {**figures, "tokens_per_second": rate})
            if is_due(state.step, recipe.loop.eval_every) and world.is_main:
                metrics.write(state.step, _validate(state.ema.module, sampler, tokenizer, recipe, world))
            level = agree_on_stop(flag.level, world)
            if level or is_due(state.step, recipe.loop.save_every) or state.step == recipe.loop.steps:
                on_main(lambda: str(save_train_state(run.checkpoints, state, recipe.loop.keep_checkpoints)), world)
            if is_due(state.step, recipe.loop.sample_every):
                on_main(lambda: _show(state, tokenizer, cache, recipe, run, vae, world), world)
            if level and state.step < recipe.loop.steps:
                reason = signal_name(level) or ""
                on_main(partial(write_stopped, out, reason), world)
                raise Stopped(f"{reason} after step {state.step}: everything is saved; the same command goes on")
        on_main(lambda: _write_model(run.model, state, tokenizer, cache, recipe, vae), world)
    return out


def learn_tokenizer(cache: LatentCache, recipe: DitTrainRecipe) -> Tokenizer:
    """The tokens of all captions of a cache: the same cache gives the same ones."""
    captions = (caption for entry in cache.entries for caption in (*entry.captions, *entry.still_captions))
    return train_tokenizer(captions, recipe.text.vocabulary_size)


def load_start(init: Path | None, cache: LatentCache, recipe: DitTrainRecipe) -> Generator | None:
    """The model that a training begins from, if any.

    Raises:
        UsageError: If the recipe builds another model; names the keys and both values.
        ArtifactError: If it cannot be read, or makes latents with another number of channels.
    """
    if init is None:
        return None
    start = load_generator(init)
    for section, wanted, found in (("dit", recipe.dit, start.dit.config), ("text", recipe.text, start.text.config)):
        differing = [key for key, value in found.model_dump().items() if getattr(wanted, key) != value]
        if differing:
            changes = " ".join(f"--set {section}.{key}={getattr(found, key)}" for key in differing)
            raise UsageError(f"the recipe builds another model than {init} is: {changes} would build that")
    if start.spec.channels != cache.spec.channels:
        raise ArtifactError(
            f"{init} makes latents of {start.spec.channels} channels, but {cache.folder} has {cache.spec.channels}"
        )
    return start


def check_vae(cache: LatentCache, vae: Path) -> None:
    """Whether the cache was made with this VAE.

    Raises:
        ArtifactError: If not; names both.
    """
    _, spec = load_vae(vae)
    if spec != cache.spec:
        raise ArtifactError(
            f"{cache.folder} was cached with VAE {cache.spec.vae_hash[:12]}, but {vae} is {spec.vae_hash[:12]}: "
            "name the VAE it was made with, or cache the clips with this one"
        )


def check_patch(cache: LatentCache, recipe: DitTrainRecipe) -> None:
    """Whether everything cached divides into patches; before anything is built.

    Raises:
        UsageError: If not; names the first that does not.
    """
    _, rows, columns = recipe.dit.patch_size
    for entry in cache.entries:
        if entry.shape[2] % rows or entry.shape[3] % columns:
            raise UsageError(
                f"dit.patch_size = {list(recipe.dit.patch_size)} does not divide the {entry.shape[2]}x{entry.shape[3]} "
                f"latents (rows, columns) of {entry.name} in {cache.folder}: take smaller patches, or cache other sizes"
            )


def _batch(
    sampler: LatentSampler, tokenizer: Tokenizer, recipe: DitTrainRecipe, step: int, world: World
) -> tuple[Tokens, Tensor]:
    """This rank's share of the batch of one step, packed into one sequence, and its targets ``(Ln, P)``."""
    pictures = step < recipe.samples.images_first
    count = recipe.samples.batch_size * (_PICTURES_PER_SAMPLE if pictures else 1)
    drawn = [
        draw_sample(sampler, tokenizer, recipe, generator_for(recipe.loop.seed, "sample", step, number), pictures)
        for number in share_of(range(count), world)
    ]
    return _pack(drawn, sampler, recipe)


def draw_sample(
    sampler: LatentSampler,
    tokenizer: Tokenizer,
    recipe: DitTrainRecipe,
    generator: torch.Generator,
    pictures_only: bool = False,
) -> tuple[Sample, list[Tensor]]:
    """A sample with its order, noise and text, and its targets; ``generator`` decides everything."""
    drawn = sampler.sample(generator, pictures_only=pictures_only)
    dropped = float(torch.rand(1, generator=generator)) < recipe.flow.text_dropout
    ids = encode_text(tokenizer, "" if dropped else drawn.caption, recipe.text.max_tokens)
    return noised_sample(drawn, torch.tensor(ids), recipe.flow, recipe.order, generator)


def _pack(
    drawn: list[tuple[Sample, list[Tensor]]], sampler: LatentSampler, recipe: DitTrainRecipe
) -> tuple[Tokens, Tensor]:
    patch = recipe.dit.patch_size
    tokens = pack_tokens([sample for sample, _ in drawn], patch, sampler.cache.spec.compression[1:])
    targets = [patchify(target, patch).flatten(0, 1) for _, part in drawn for target in part]
    return tokens, torch.cat(targets)


def _learn(
    model: DiTWithText, tokens: Tokens, targets: Tensor, recipe: DitTrainRecipe, state: TrainState, world: World
) -> dict[str, float]:
    """One update; the loss is the mean over all numbers of all wanted tokens, over all ranks."""
    with mixed_precision(recipe.loop.precision, world.device):
        velocities = model(tokens)
    error = (velocities.float() - targets).square().mean(-1)  # (Ln,)
    loss = error.mean()
    loss.backward()
    average_gradients(model.parameters(), world, weight=float(len(targets)))
    total, count = all_mean([float(error.detach().sum()), float(len(error))], world)
    figures = {"loss": total / count, **_by_noise(error.detach(), tokens)}
    report = state.optimiser.step(state.step, recipe.loop.steps, figures["loss"])
    if report.applied:
        state.ema.update_parameters(model)
    return {
        **figures,
        "tokens": float(len(tokens.order)),
        "learning_rate": report.learning_rate,
        "gradient_norm": report.gradient_norm,
    }


def _by_noise(error: Tensor, tokens: Tokens) -> dict[str, float]:
    """Mean error of tokens in each band of noise levels that has any."""
    level = tokens.conditions[tokens.row[tokens.wanted], 0]
    band = (level * _BANDS).long().clamp(max=_BANDS - 1)
    return {
        f"loss_t{number / _BANDS:g}": float(error[band == number].mean())
        for number in range(_BANDS)
        if bool((band == number).any())
    }


@torch.no_grad()
def _validate(
    model: nn.Module, sampler: LatentSampler, tokenizer: Tokenizer, recipe: DitTrainRecipe, world: World
) -> dict[str, float]:
    """The averaged weights on a fixed set of samples with fixed noise: comparable from step to step."""
    drawn = [
        draw_sample(sampler, tokenizer, recipe, generator_for(recipe.loop.seed, "validation", number))
        for number in range(_VALIDATION_SAMPLES)
    ]
    tokens, targets = _pack(drawn, sampler, recipe)
    with mixed_precision(recipe.loop.precision, world.device):
        velocities = model(tokens.to(world.device))
    error = (velocities.float() - targets.to(world.device)).square().mean(-1)
    return {"fixed_loss": float(error.mean())}


def _show(
    state: TrainState,
    tokenizer: Tokenizer,
    cache: LatentCache,
    recipe: DitTrainRecipe,
    run: RunFolder,
    vae: Path,
    world: World,
) -> None:
    draft = run.path / "preview"
    _write_model(draft, state, tokenizer, cache, recipe, vae)
    show_samples(load_generator(draft, world.device), run.samples / f"step_{state.step:08d}.png")
    shutil.rmtree(draft)


def _write_model(
    folder: Path, state: TrainState, tokenizer: Tokenizer, cache: LatentCache, recipe: DitTrainRecipe, vae: Path
) -> str:
    """The averaged weights, with the VAE beside them: a whole model."""
    averaged = state.ema.module
    assert isinstance(averaged, DiTWithText)
    folder.mkdir(parents=True, exist_ok=True)
    copy_vae(vae, folder / "vae", cache.spec)
    first = next((entry for entry in cache.entries if entry.shape[1] > 1), cache.entries[0])
    rows, columns = cache.spec.compression[1:]
    # What was trained: a sample is never longer than its video.
    longest = min(max(recipe.samples.latent_frames), max(entry.shape[1] for entry in cache.entries))
    defaults = {
        "fps": first.fps,
        "size": [first.shape[2] * rows, first.shape[3] * columns],
        "shift": recipe.flow.shift,
        **recipe.sampling.model_dump(),
        "first_block": recipe.order.first_block,
        "block": recipe.order.block,
        "window": max(1, longest - recipe.order.block),
    }
    facts = {"defaults": defaults, "trained": {"steps": state.step, "seed": recipe.loop.seed}}
    return save_dit(
        folder,
        averaged.dit.state_dict(),
        recipe.dit,
        averaged.text,
        tokenizer,
        cache.spec,
        facts,
        DTYPES[recipe.loop.store],
    )
