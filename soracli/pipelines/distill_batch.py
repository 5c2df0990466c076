"""What a DiT is shown at a step of its distillation: the samples of any training, and targets that teachers say."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn

from soracli.data.latent_samples import LatentSampler
from soracli.diffusion.config import DistillConfig
from soracli.models.generator import Generator
from soracli.models.tokenizer import PairedTokenizer, encode_text
from soracli.models.tokens import Sample, pack_tokens, unpatchify
from soracli.pipelines.dit_batch import batch_keys, draw_sample, pack_batch
from soracli.pipelines.dit_step import Batch, DiTWithText
from soracli.pipelines.lessons import Look, make_lesson, noisy_pieces, teach
from soracli.pipelines.recipes import DitTrainRecipe
from soracli.training.device import mixed_precision
from soracli.training.distributed import World
from soracli.training.seeding import generator_for
from soracli.training.state import TrainState


def draw_taught_batch(
    sampler: LatentSampler,
    tokenizer: Tokenizer | PairedTokenizer,
    recipe: DitTrainRecipe,
    state: TrainState,
    world: World,
    start: Generator | None,
    *,
    distill: DistillConfig,
) -> Batch:
    """``draw_batch`` with lessons in place of samples: ``start`` and the average of the weights say what is taught.

    Nothing is in a checkpoint for it: what is drawn follows from seed and step, and the average is there already.
    """
    assert start is not None  # a distillation has a model that it distils
    guide = DiTWithText(start.dit, start.text).to(world.device)
    seed, pictures = recipe.loop.seed, state.step < recipe.samples.images_first
    pixels = sampler.cache.spec.compression[1:]
    looks = [teacher_look(one, recipe, (pixels[0], pixels[1]), world) for one in (guide, state.ema.module)]
    no_text = torch.tensor(encode_text(tokenizer, "", recipe.text.max_tokens))
    batch = []
    for keys in batch_keys(sampler, tokenizer, recipe, state.step, world):
        lessons = []
        for key in keys:
            drawn = draw_sample(sampler, tokenizer, recipe, generator_for(seed, *key), pictures)
            lessons.append(make_lesson(*drawn, recipe.flow, distill, generator_for(seed, "lesson", *key)))
        targets = teach(lessons, looks[0], looks[1], no_text, recipe.flow.objective, distill)
        taught = [(lesson.sample, each) for lesson, each in zip(lessons, targets, strict=True)]
        batch.append(pack_batch(taught, sampler, recipe))
    return batch


def teacher_look(teacher: nn.Module, recipe: DitTrainRecipe, pixels_per_latent: tuple[int, int], world: World) -> Look:
    """A teacher that sees samples packed into one sequence, as the student does, without gradients.

    Args:
        teacher: A ``DiTWithText``.
        recipe: Its patches, and the numbers it computes in.
        pixels_per_latent: Rows and columns of pixels under one latent.
        world: Where it computes.
    """
    patch = recipe.dit.patch_size

    @torch.no_grad()
    def look(samples: Sequence[Sample]) -> list[list[Tensor]]:
        if not samples:
            return []
        tokens = pack_tokens(samples, patch, pixels_per_latent).to(world.device)
        with mixed_precision(recipe.loop.precision, world.device):
            said = teacher(tokens)
        rest, found = said.cpu(), list[list[Tensor]]()
        for sample in samples:
            found.append([])
            for piece in noisy_pieces(sample):
                frames, height, width = piece.latents.shape[1:]
                count = frames * (height // patch[1]) * (width // patch[2])
                patches = rest[:count].to(piece.latents.dtype).unflatten(0, (frames, -1))  # (T, S, P)
                found[-1].append(unpatchify(patches, (height, width), patch))
                rest = rest[count:]
        return found

    return look
