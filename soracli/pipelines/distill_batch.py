"""What a DiT is shown at a step of its distillation: the samples of any training, and targets that teachers say."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

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
from soracli.training.distributed import World, all_mean
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
    look = partial(teacher_look, recipe=recipe, pixels_per_latent=(pixels[0], pixels[1]), world=world)
    no_text = torch.tensor(encode_text(tokenizer, "", recipe.text.max_tokens))
    batch = []
    for keys in batch_keys(sampler, tokenizer, recipe, state.step, world):
        lessons = []
        for key in keys:
            drawn = draw_sample(sampler, tokenizer, recipe, generator_for(seed, *key), pictures)
            lessons.append(make_lesson(*drawn, recipe.flow, distill, generator_for(seed, "lesson", *key)))
        # What ranks hold between them they compute together, also where a rank has nothing to ask.
        average = look(state.ema.module, stand_in=lessons[0].sample if state.sharding else None)
        targets = teach(lessons, look(guide), average, no_text, recipe.flow.objective, distill)
        taught = [(lesson.sample, each) for lesson, each in zip(lessons, targets, strict=True)]
        batch.append(pack_batch(taught, sampler, recipe))
    return batch


def teacher_look(
    teacher: nn.Module,
    recipe: DitTrainRecipe,
    pixels_per_latent: tuple[int, int],
    world: World,
    stand_in: Sample | None = None,
) -> Look:
    """A teacher that sees samples packed into one sequence, as the student does, without gradients.

    Args:
        teacher: A ``DiTWithText``.
        recipe: Its patches, and the numbers it computes in.
        pixels_per_latent: Rows and columns of pixels under one latent.
        world: Where it computes.
        stand_in: If ranks hold the teacher between them: what one that has no samples sees while others have some.
            All ranks look together then.
    """
    patch = recipe.dit.patch_size

    @torch.no_grad()
    def look(samples: Sequence[Sample]) -> list[list[Tensor]]:
        shown = list(samples)
        if stand_in is not None and all_mean([float(len(shown))], world)[0] and not shown:
            shown = [stand_in]
        if not shown:
            return []
        tokens = pack_tokens(shown, patch, pixels_per_latent).to(world.device)
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
